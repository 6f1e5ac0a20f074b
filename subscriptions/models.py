"""The wallet side's rows. ``Subscription`` mirrors ``NotifySubscription`` field by field.

Spec: clients/notify/data-structures.md; the seed's "NotifySubscription". ``symKey`` is in the
keychain, found by ``topic``.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, ClassVar

from django.db import models

from accounts.models import Account, Device

if TYPE_CHECKING:
    from datetime import datetime


class DappDocument(models.Model):
    """What we know of a dapp from its did.json and wc-notify-config.json. Keys are pinned."""

    url = models.CharField("dapp URL", max_length=255, unique=True)
    domain = models.CharField(max_length=255)
    public_key_x = models.CharField("X25519 key, hex", max_length=64, blank=True)
    authentication_key = models.CharField("did:key", max_length=64, blank=True)
    # A document whose keys differ from the pinned ones waits here for a person's word.
    changed_keys = models.JSONField(null=True, blank=True)
    name = models.CharField(max_length=64, blank=True)
    description = models.CharField(max_length=255, blank=True)
    icons = models.JSONField(default=list)
    # [{"name", "description"}], in the document's order.
    types = models.JSONField(default=list)
    fetched_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField("why the last check failed", max_length=200, blank=True)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.url


class SubscribeAttempt(models.Model):
    """One run of the twenty steps, as W1 sees it."""

    class State(models.TextChoices):
        RESOLVING = "resolving"
        REQUESTED = "requested"
        SETTLED = "settled"
        SYNCED = "synced"
        REJECTED = "rejected"
        EXPIRED = "expired"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="subscribe_attempts"
    )
    device = models.ForeignKey(
        Device, null=True, on_delete=models.SET_NULL, related_name="subscribe_attempts"
    )
    dapp_url = models.CharField(max_length=255)
    # Type names that the person chose; null means every type of the dapp.
    wanted_types = models.JSONField(null=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RESOLVING)
    last_step = models.PositiveSmallIntegerField(default=0)
    # Empty until step 6. It names the run in relay.StepRecord.
    response_topic = models.CharField(max_length=64, blank=True, db_index=True)
    topic_of_key_pair_y = models.CharField(max_length=64, blank=True)
    rpc_id = models.BigIntegerField(null=True)
    scope = models.JSONField(default=dict)
    metadata = models.JSONField(default=dict)
    dapp_authentication_did = models.CharField(max_length=64, blank=True)
    subscription = models.ForeignKey(
        "Subscription", null=True, on_delete=models.SET_NULL, related_name="attempts"
    )
    reason = models.CharField(max_length=200, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.dapp_url}: {self.state}"


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def active(self) -> SubscriptionQuerySet:
        return self.filter(deleted_at=None)

    def of(self, account: Account) -> SubscriptionQuerySet:
        return self.filter(account=account)

    def of_user(self, user_id: int) -> SubscriptionQuerySet:
        return self.filter(account__user_id=user_id)


class Subscription(models.Model):
    """A ``NotifySubscription`` of one account. One row per notify topic."""

    class AddedBy(models.TextChoices):
        SUBSCRIBE = "subscribe", "subscribed here (W1)"
        SYNC = "sync", "came through Sync (Wx)"
        HISTORY = "history", "rebuilt from History"
        SERVER = "server", "told by the Notify server"

    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="subscriptions"
    )
    topic = models.CharField(max_length=64)
    relay_protocol = models.CharField(max_length=32, default="irn")
    metadata = models.JSONField(help_text="name, description, url, icons")
    scope = models.JSONField(help_text="{type: {description, enabled}}")
    expiry = models.BigIntegerField(help_text="seconds")
    # Which dapp: metadata["url"], kept apart for joins and look-ups.
    dapp_url = models.CharField(max_length=255, db_index=True)
    dapp_authentication_did = models.CharField(max_length=64, blank=True)
    added_by = models.CharField(max_length=10, choices=AddedBy.choices)
    device = models.ForeignKey(
        Device, null=True, on_delete=models.SET_NULL, related_name="+",
        help_text="W1, when it is one of ours",
    )
    # A scope that was asked for and not yet confirmed: {"scope": …, "rpc_id": …}.
    pending_update = models.JSONField(null=True, blank=True)
    last_iat = models.BigIntegerField(default=0, help_text="of the dapp's last word, seconds")
    # sha256 of the last subscriptionAuth or updateAuth: the dapp's `sub` in its messages.
    subscription_hash = models.CharField(max_length=64, blank=True)
    muted_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True)
    delete_reason = models.CharField(max_length=200, blank=True)

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account", "topic"], name="subscription_topic_is_unique"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["topic"], name="subscription_by_topic"),
            models.Index(
                fields=["expiry"],
                name="subscription_by_expiry",
                condition=models.Q(deleted_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.metadata.get('name') or self.dapp_url}"

    def is_expired(self, now: datetime) -> bool:
        return self.expiry <= now.timestamp()


class NotifyMessageRecord(models.Model):
    """A notification that arrived. Its read state is shared by all devices."""

    subscription = models.ForeignKey(
        Subscription, on_delete=models.CASCADE, related_name="messages"
    )
    rpc_id = models.BigIntegerField(help_text="JSON-RPC id")
    # The later generation's notification id; empty in the August generation.
    notification_id = models.CharField(max_length=64, blank=True)
    type = models.CharField(max_length=64)
    title = models.CharField(max_length=128)
    body = models.TextField()
    icon = models.TextField(blank=True)
    url = models.TextField(blank=True)
    message_auth = models.TextField(help_text="the did-jwt, as received")
    published_at = models.DateTimeField()
    received_at = models.DateTimeField()
    read_at = models.DateTimeField(null=True, blank=True)
    read_by = models.ForeignKey(
        Device, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["subscription", "rpc_id"], name="notify_message_id_is_unique"
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["subscription", "-published_at", "-id"],
                name="notify_message_newest_first",
            ),
            models.Index(
                fields=["subscription"],
                name="notify_message_unread",
                condition=models.Q(read_at=None, archived_at=None),
            ),
        ]

    def __str__(self) -> str:
        return self.title
