"""The History Server keeps no messages of its own: it reads what the relay kept.

It only remembers which clients asked for which tags.
"""

from __future__ import annotations

from django.db import models


class HistoryRegistration(models.Model):
    """A client asked the archive to keep these tags (history 1.0.4, ``POST /register``).

    Tags are texts, in which ``*`` may stand for a digit.
    """

    client_id = models.CharField(max_length=64, unique=True, help_text="did:key")
    tags = models.JSONField(default=list)
    relay_url = models.CharField(max_length=255)
    registered_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.client_id
