"""Rows of our clients of a relay: what they receive, publish and subscribe to.

The relay on the other side may be the embedded one (``relayserver``) or a foreign one;
these rows are the same for both.
"""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from common.work_queue import Leased
from messaging.shards import ALL_SHARDS, SHARD_DIGITS, ShardRange

TOPIC_LENGTH = 64
DIGEST_LENGTH = 64
# Topic and message id in 16 bytes: the unique index of the inbox has an entry for every
# message of a month, and the two texts would take 130 bytes each time. ``messaging.inbox``
# names the same expression.
TOPIC_AND_ID = models.Func(
    models.F("topic"),
    models.F("message_id"),
    arg_joiner=" || ",
    template="(md5(%(expressions)s))::uuid",
)


class Party(models.TextChoices):
    """The side of the protocol that a relay client acts for."""

    WALLET = "wallet"
    CAST = "cast"


class PartyClient(models.Model):
    """A relay-client identity of a party; its key is in the keychain.

    A relay limits the topics of one client (the embedded one to 5,000), and one gateway
    process serves a client. So a party with more topics or several gateways has several
    clients, each with its own connection and a range of the shards, numbered by ``lane``;
    lane 0 always exists. The ranges of a party never overlap and cover all shards.
    """

    party = models.CharField(max_length=8, choices=Party.choices)
    lane = models.PositiveSmallIntegerField(default=0)
    # Changed only by the gateway that holds the lock of the lane.
    first_shard = models.PositiveSmallIntegerField(default=ALL_SHARDS.first)
    last_shard = models.PositiveSmallIntegerField(default=ALL_SHARDS.last)
    did = models.CharField(max_length=64)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    connected_since = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["party", "lane"], name="party_client_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.party} {self.lane}"

    @property
    def shards(self) -> ShardRange:
        return ShardRange(self.first_shard, self.last_shard)


class TopicSubscription(models.Model):
    """A topic that a party wants to be subscribed, or unsubscribed, by the gateway."""

    class State(models.TextChoices):
        WANTED = "wanted"
        UNWANTED = "unwanted"

    party = models.CharField(max_length=8, choices=Party.choices)
    topic = models.CharField(max_length=TOPIC_LENGTH)
    state = models.CharField(max_length=8, choices=State.choices, default=State.WANTED)
    # [{"callback": name, "context": object}]: called once the relay has confirmed the
    # topic. Several subscribers may wait for one topic. The column has the name of the
    # first release: a gateway of that release finds it, fails on the rows that it does
    # not understand, and tries them again until it is replaced.
    callbacks = models.JSONField(default=list, blank=True, db_column="steps")
    changed_at = models.DateTimeField()
    # When the relay last confirmed it; empty while the gateway has to send the request.
    confirmed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["party", "topic"], name="topic_subscription_is_unique"
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["party", "topic"],
                name="topic_pending_of_range",
                condition=models.Q(confirmed_at=None),
            ),
            models.Index(
                fields=["confirmed_at"],
                name="topic_subscription_unwanted",
                condition=models.Q(state="unwanted"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.party} {self.state} {self.topic}"


class InboxMessage(models.Model):
    """A received message, committed before it is acknowledged to the relay.

    ``leased_until`` is set only in a due row whose worker died, and by workers of the first
    releases; the others are claimed by ``InboxClaim``.
    """

    class State(models.TextChoices):
        DUE = "due"
        HANDLED = "handled"
        REFUSED = "refused"
        FAILED = "failed"

    party = models.CharField(max_length=8, choices=Party.choices)
    topic = models.CharField(max_length=TOPIC_LENGTH)
    message_id = models.CharField(max_length=DIGEST_LENGTH, help_text="sha256(message)")
    message = models.TextField(
        blank=True, help_text="the envelope, as received; empty once handled"
    )
    tag = models.IntegerField()
    published_at = models.BigIntegerField(help_text="milliseconds")
    received_at = models.DateTimeField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.DUE)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    leased_until = models.DateTimeField(null=True, blank=True)
    leased_by = models.IntegerField(
        null=True, blank=True, help_text="number of the worker's database session"
    )
    reason = models.CharField(max_length=200, blank=True)
    handled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                models.F("party"), TOPIC_AND_ID, name="inbox_message_is_unique"
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["id"],
                name="inbox_message_due",
                condition=models.Q(state="due"),
            ),
            models.Index(
                fields=["party", "topic"],
                name="inbox_message_leased",
                condition=models.Q(state="due", leased_until__isnull=False),
            ),
            models.Index(
                fields=["id"],
                name="inbox_message_failed",
                condition=models.Q(state="failed"),
            ),
            models.Index(fields=["received_at"], name="inbox_message_by_age"),
            models.Index(
                fields=["received_at"],
                name="inbox_message_refused_text",
                condition=models.Q(state="refused") & ~models.Q(message=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.party} {self.tag} on {self.topic}"


class InboxClaim(Leased):
    """Due rows of the inbox that a worker has claimed: one row for its whole batch.

    Until ``leased_until``, or until the worker's database session ends, no other worker
    takes these rows or later ones of their topics.
    """

    messages = ArrayField(models.BigIntegerField(), help_text="primary keys")
    topics = ArrayField(
        models.BigIntegerField(), help_text="digests of party and topic"
    )

    def __str__(self) -> str:
        return f"{len(self.messages)} until {self.leased_until}"


class ShardOf(models.Func):
    """The shard of a topic, as ``messaging.shards.shard_of`` computes it."""

    template = f"(('x' || left(%(expressions)s, {SHARD_DIGITS}))::bit({4 * SHARD_DIGITS})::integer::smallint)"


class OutboxMessage(models.Model):
    """A message to publish: the exact bytes, kept until the relay acknowledges them."""

    class State(models.TextChoices):
        DUE = "due"
        SENT = "sent"
        FAILED = "failed"

    party = models.CharField(max_length=8, choices=Party.choices)
    topic = models.CharField(max_length=TOPIC_LENGTH)
    # Stored by PostgreSQL when the row is inserted, so that no writer can get it wrong.
    shard = models.GeneratedField(
        expression=ShardOf("topic"),
        output_field=models.SmallIntegerField(),
        db_persist=True,
    )
    message_id = models.CharField(max_length=DIGEST_LENGTH, help_text="sha256(message)")
    message = models.TextField(help_text="the envelope; empty once sent")
    tag = models.IntegerField()
    ttl = models.PositiveIntegerField(help_text="seconds")
    prompt = models.BooleanField(default=False)
    state = models.CharField(max_length=8, choices=State.choices, default=State.DUE)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["party", "shard", "id"],
                name="outbox_message_due_of_shard",
                condition=models.Q(state="due"),
            ),
            models.Index(
                fields=["party", "topic", "id"],
                name="outbox_message_held_back",
                condition=models.Q(state="due", attempts__gt=0),
            ),
            models.Index(
                fields=["id"],
                name="outbox_message_failed",
                condition=models.Q(state="failed"),
            ),
            models.Index(
                fields=["created_at"],
                name="outbox_message_sent",
                condition=models.Q(state="sent"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.party} {self.tag} on {self.topic}"
