"""Webhooks: registration, delivery and replay."""
