"""The dapp side: callers import from the modules."""
