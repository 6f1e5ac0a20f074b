"""Rows of the embedded relay: its log, and how far each client has acknowledged it.

Our own clients of a relay (``messaging``) never read these rows; a foreign relay replaces
them together with this package.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models

TOPIC_LENGTH = 64
DIGEST_LENGTH = 64
# wc_notifyMessage, wc_syncSet, wc_syncDelete: what a client may have archived
# (``history.services.ARCHIVABLE``). Conditions of indexes must be constants.
ARCHIVABLE_TAGS = (4002, 5000, 5002)


class RelayLog(models.Model):
    """One row that numbers the log: the last number that was assigned.

    Every batch of published messages moves it, in the transaction that inserts them. Its
    row lock makes batches commit one after the other, so that numbers become visible in
    order and without gaps, however many relay nodes write. A sequence would be cheaper but
    has gaps after rollbacks and shows numbers out of order, so that a node could not tell a
    missing tick from a gap. The price is one commit at a time per database; with up to
    2,000 messages per commit one node still writes 10,000 messages per second
    (docs/performance.md).
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    head = models.BigIntegerField()

    def __str__(self) -> str:
        return f"log up to {self.head}"


class PublishedMessage(models.Model):
    """The embedded relay's log: mailbox until the TTL ends, archive for registered tags.

    ``id`` is the publish order. One insert serves mailbox and archive. The relay writes
    and reads these rows in batches with its own SQL (``relayserver.storage``). Topics and
    digests are compared by bytes, hence the "C" collation.
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
            # Messages that can be archived have an index of their own: a year of them
            # would have to be skipped each time that expired ones are looked for.
            models.Index(
                fields=["expires_at"],
                name="published_by_expiry",
                condition=~models.Q(tag__in=ARCHIVABLE_TAGS),
            ),
            models.Index(
                fields=["tag", "expires_at"],
                name="archivable_by_expiry",
                condition=models.Q(tag__in=ARCHIVABLE_TAGS),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tag} on {self.topic}"


class MailboxCursor(models.Model):
    """The last message of a topic up to which a client has acknowledged everything.

    Clients nearly always acknowledge in order, so one row replaces all acknowledgements
    of a topic, and a reconnect reads new messages only.
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
    """A tag whose messages are kept beyond their TTL for history clients."""

    tag = models.BigIntegerField(primary_key=True)
    since = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.tag)
