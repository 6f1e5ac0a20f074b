"""The doors of the dapp side: the REST API of the Cast Server, and its documents."""
