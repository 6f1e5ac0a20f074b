"""The REST API of the Cast Server, and its documents."""
