"""Rows of the relay: what the embedded relay keeps, and what our own clients of a relay keep.

The two halves never join: ``PublishedMessage``, ``RelayClient`` and ``Acknowledgement``
belong to the server (``relay.server``); ``InboxMessage``, ``OutboxMessage``,
``TopicSubscription`` and ``PartyClient`` to our clients (``relay.gateway``). A foreign relay
replaces the first half and nothing else.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from accounts.models import Account

TOPIC_LENGTH = 64
DIGEST_LENGTH = 64


class Party(models.TextChoices):
    """Which side of the protocol one of our relay clients speaks for."""

    WALLET = "wallet"
    CAST = "cast"


# --- the embedded relay ---------------------------------------------------------------


class RelayClient(models.Model):
    """A client id (did:key of the relay-client key) seen by the embedded relay."""

    did = models.CharField(max_length=64, unique=True)
    first_seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.did


class PublishedMessage(models.Model):
    """The embedded relay's log: mailbox until the TTL ends, archive for registered tags.

    ``id`` is the publish order. One write serves mailbox and archive.
    """

    topic = models.CharField(max_length=TOPIC_LENGTH)
    message_id = models.CharField(max_length=DIGEST_LENGTH, help_text="sha256(message)")
    message = models.TextField()
    tag = models.IntegerField()
    prompt = models.BooleanField(default=False)
    attestation = models.TextField(default="", blank=True)
    publisher = models.ForeignKey(
        RelayClient, on_delete=models.CASCADE, related_name="published"
    )
    published_at = models.BigIntegerField(help_text="milliseconds")
    expires_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["topic", "message_id"], name="published_message_is_unique"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["topic", "id"], name="published_by_topic"),
            models.Index(fields=["expires_at"], name="published_by_expiry"),
        ]

    def __str__(self) -> str:
        return f"{self.tag} on {self.topic}"


class Acknowledgement(models.Model):
    """This client has received this message; it is not sent to it again."""

    client = models.ForeignKey(
        RelayClient, on_delete=models.CASCADE, related_name="acknowledgements"
    )
    published_message = models.ForeignKey(
        PublishedMessage, on_delete=models.CASCADE, related_name="acknowledgements"
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["client", "published_message"], name="acknowledged_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.client_id} has {self.published_message_id}"


class ArchivedTag(models.Model):
    """A tag whose messages outlive their TTL, because a history client asked for it."""

    tag = models.IntegerField(unique=True)
    since = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.tag)


# --- our own clients ------------------------------------------------------------------


class PartyClient(models.Model):
    """The relay-client identity of a party; its key is in the keychain."""

    party = models.CharField(max_length=8, choices=Party.choices, unique=True)
    did = models.CharField(max_length=64)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    connected_since = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.party


class TopicSubscription(models.Model):
    """A topic that a party wants to hear (or no longer wants); the gateway makes it so."""

    class State(models.TextChoices):
        WANTED = "wanted"
        UNWANTED = "unwanted"

    party = models.CharField(max_length=8, choices=Party.choices)
    topic = models.CharField(max_length=TOPIC_LENGTH)
    state = models.CharField(max_length=8, choices=State.choices, default=State.WANTED)
    # Names the run of the twenty steps that wanted it (for step 7, 17 and 20), if any.
    run = models.CharField(max_length=TOPIC_LENGTH, blank=True)
    changed_at = models.DateTimeField()
    # When the relay last confirmed it; empty: the gateway still has to ask.
    confirmed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["party", "topic"], name="topic_subscription_is_unique"
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["party", "changed_at"],
                name="topic_subscription_pending",
                condition=models.Q(confirmed_at=None),
            )
        ]

    def __str__(self) -> str:
        return f"{self.party} {self.state} {self.topic}"


class InboxMessage(models.Model):
    """A message that a party received: written before the relay is told that we have it."""

    class State(models.TextChoices):
        DUE = "due"
        HANDLED = "handled"
        REFUSED = "refused"
        FAILED = "failed"

    party = models.CharField(max_length=8, choices=Party.choices)
    topic = models.CharField(max_length=TOPIC_LENGTH)
    message_id = models.CharField(max_length=DIGEST_LENGTH, help_text="sha256(message)")
    message = models.TextField(help_text="the envelope, as received; emptied when pruned")
    tag = models.IntegerField()
    published_at = models.BigIntegerField(help_text="milliseconds")
    received_at = models.DateTimeField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.DUE)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    reason = models.CharField(max_length=200, blank=True)
    handled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["party", "topic", "message_id"], name="inbox_message_is_unique"
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["next_attempt_at", "id"],
                name="inbox_message_due",
                condition=models.Q(state="due"),
            ),
            models.Index(fields=["received_at"], name="inbox_message_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.party} {self.tag} on {self.topic}"


class OutboxMessage(models.Model):
    """A message that a party has to publish: the exact bytes, sent until acknowledged."""

    class State(models.TextChoices):
        DUE = "due"
        SENT = "sent"
        FAILED = "failed"

    party = models.CharField(max_length=8, choices=Party.choices)
    topic = models.CharField(max_length=TOPIC_LENGTH)
    message_id = models.CharField(max_length=DIGEST_LENGTH, help_text="sha256(message)")
    message = models.TextField()
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
                fields=["party", "next_attempt_at", "id"],
                name="outbox_message_due",
                condition=models.Q(state="due"),
            ),
            models.Index(fields=["created_at"], name="outbox_message_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.party} {self.tag} on {self.topic}"


class StepRecord(models.Model):
    """One of the twenty steps as it was carried out here: who, when, what crossed the wire.

    ``run`` is the response topic: the one name that W1 and the Cast Server both know. Each
    side writes the steps that it carries out itself; no secrets.
    """

    run = models.CharField(max_length=TOPIC_LENGTH)
    step = models.PositiveSmallIntegerField()
    actor = models.CharField(max_length=64, help_text="W1, Cast Server, Dapp, Wx")
    # Several devices may carry out steps 19 and 20.
    actor_key = models.CharField(max_length=64, blank=True)
    at = models.DateTimeField()
    wire = models.JSONField(default=dict)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["run", "step", "actor_key"], name="step_record_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"step {self.step} of {self.run}"
