"""Accounts leave and enter: export as JSON Lines, import with a preview."""
