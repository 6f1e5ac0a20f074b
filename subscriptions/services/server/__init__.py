"""Protocol v1: the Cast Server's list of subscriptions and read state."""
