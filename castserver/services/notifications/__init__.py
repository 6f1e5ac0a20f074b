"""Notifications: from a dapp's call to receipts and read state."""
