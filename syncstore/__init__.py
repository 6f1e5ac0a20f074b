"""Sync API: key-value stores shared by the devices of an account."""
