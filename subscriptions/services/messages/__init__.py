"""Received notifications: storing, reading, replay from history."""
