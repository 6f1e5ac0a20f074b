"""Subscribe, update, delete, watch: what wallets send to the dapp side."""
