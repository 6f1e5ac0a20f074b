"""Rows of the embedded relay: its log, and how far each client has acknowledged it.

Our own clients of a relay (``messaging``) never read these rows; a foreign relay replaces
them together with this package.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models

TOPIC_LENGTH = 64
DIGEST_LENGTH = 64


class RelayLog(models.Model):
    """The head of the log: how many numbers the embedded relay has given out.

    Every batch of published messages moves it, in the transaction that writes them. The
    row lock that this takes lets one batch commit at a time, so that numbers become
    visible in their order, without gaps, however many relay nodes write.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    head = models.BigIntegerField()

    def __str__(self) -> str:
        return f"log up to {self.head}"


class PublishedMessage(models.Model):
    """The embedded relay's log: mailbox until the TTL ends, archive for registered tags.

    ``id`` is the publish order. One write serves mailbox and archive. The relay writes
    and reads these rows in batches with its own SQL (``relayserver.storage.store``). Topics and
    digests are compared byte by byte, which the "C" collation does quickest.
    """

    id = models.BigIntegerField(primary_key=True)
    topic = models.CharField(max_length=TOPIC_LENGTH, db_collation="C")
    message_id = models.CharField(
        max_length=DIGEST_LENGTH, db_collation="C", help_text="sha256(message)"
    )
    message = models.TextField()
    tag = models.BigIntegerField()
    attestation = models.TextField(null=True)
    publisher = models.CharField(max_length=64, db_collation="C", help_text="did:key")
    published_at = models.BigIntegerField(help_text="milliseconds")
    expires_at = models.BigIntegerField(help_text="milliseconds")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["topic", "message_id"], name="published_message_is_unique"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["topic", "id"], name="published_by_topic"),
            models.Index(fields=["expires_at", "tag"], name="published_by_expiry"),
        ]

    def __str__(self) -> str:
        return f"{self.tag} on {self.topic}"


class MailboxCursor(models.Model):
    """How far a client has acknowledged a topic: this message and everything before it.

    Clients acknowledge in order, nearly always, so one row stands for all their
    acknowledgements of a topic and a reconnect reads only what is new.
    """

    pk = models.CompositePrimaryKey("topic", "client")
    topic = models.CharField(max_length=TOPIC_LENGTH, db_collation="C")
    client = models.CharField(max_length=64, db_collation="C", help_text="did:key")
    through = models.BigIntegerField(help_text="id of a published message")

    def __str__(self) -> str:
        return f"{self.client} has {self.topic} up to {self.through}"


class Acknowledgement(models.Model):
    """A message acknowledged out of order, beyond the client's cursor on the topic."""

    pk = models.CompositePrimaryKey("topic", "client", "published_id")
    topic = models.CharField(max_length=TOPIC_LENGTH, db_collation="C")
    client = models.CharField(max_length=64, db_collation="C", help_text="did:key")
    published_id = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.client} has {self.published_id}"


class ArchivedTag(models.Model):
    """A tag whose messages outlive their TTL, because a history client asked for it."""

    tag = models.BigIntegerField(primary_key=True)
    since = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.tag)
