"""Delivery: publishing, live topics, mailboxes, acknowledgements, other nodes."""
