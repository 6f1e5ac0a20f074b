"""Registrations at the History Server; the messages are in the relay's log."""

from __future__ import annotations

from django.db import models


class HistoryRegistration(models.Model):
    """The tags that a client registered (history 1.0.4, ``POST /register``).

    Tags are texts; ``*`` matches any digit.
    """

    client_id = models.CharField(max_length=64, unique=True, help_text="did:key")
    tags = models.JSONField(default=list)
    relay_url = models.CharField(max_length=255)
    registered_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.client_id
