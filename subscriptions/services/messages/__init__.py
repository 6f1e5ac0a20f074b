"""Notifications: reception, replay from History, read state."""
