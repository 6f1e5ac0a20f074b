"""A subscription from the first request to the stored entry."""
