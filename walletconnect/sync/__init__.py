"""The Sync API: one key-value store, the same on every device of an account."""
