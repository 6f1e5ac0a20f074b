"""The dapp side's rows: projects, who subscribed, what was sent, who has to be told.

Spec: servers/notify ("Cast Server" in the seed). Keys X, Z, P and the authentication key are in the
keychain; API secrets are kept as keyed digests only.
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models


class Project(models.Model):
    """A dapp that sends notifications through this Cast Server."""

    id = models.CharField(primary_key=True, max_length=32, help_text="project id, 32 hex digits")
    name = models.CharField(max_length=64)
    slug = models.SlugField(max_length=64, unique=True)
    description = models.CharField(max_length=255, blank=True)
    icon = models.CharField(max_length=255, blank=True)
    # Without a domain of its own a dapp lives at <public url>/dapps/<slug>.
    url = models.CharField(max_length=255, unique=True)
    is_hosted = models.BooleanField(default=False)
    is_demo = models.BooleanField(default=False)
    # accounts.User is below this app, but a project may outlive its owner.
    owner = models.ForeignKey(
        "accounts.User", null=True, blank=True, on_delete=models.SET_NULL, related_name="projects"
    )
    subscribe_topic = models.CharField(max_length=64, unique=True)
    public_key_x = models.CharField(max_length=64, help_text="X25519, hex")
    authentication_did = models.CharField(max_length=64, help_text="did:key")
    last_modified = models.DateTimeField(help_text="of the documents")
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class ProjectSecret(models.Model):
    """A bearer secret of a project, as keyed digest; shown once, when made."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="secrets")
    digest = models.CharField(max_length=64, unique=True)
    prefix = models.CharField(max_length=8)
    created_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.prefix}…"


class NotificationType(models.Model):
    """A kind of notification that a person can allow or refuse."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="types")
    name = models.CharField(max_length=64)
    description = models.CharField(max_length=255, blank=True)
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["project", "name"], name="notification_type_is_unique"
            )
        ]
        ordering: ClassVar = ["position", "id"]

    def __str__(self) -> str:
        return self.name


class Subscriber(models.Model):
    """An account that subscribed; one row per notify topic (an account may have several)."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="subscribers")
    account = models.CharField("CAIP-10", max_length=168)
    topic = models.CharField("notify topic", max_length=64, unique=True)
    scope = models.JSONField(help_text="enabled type names")
    expires_at = models.DateTimeField()
    subscription_hash = models.CharField(
        max_length=64, help_text="sha256 of the last subscriptionAuth or updateAuth"
    )
    last_iat = models.BigIntegerField(help_text="of the last accepted word, seconds")
    identity_did = models.CharField(max_length=64)
    is_later_generation = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["project", "account"],
                name="subscriber_by_account",
                condition=models.Q(deleted_at=None),
            ),
            models.Index(
                fields=["expires_at"],
                name="subscriber_by_expiry",
                condition=models.Q(deleted_at=None),
            ),
        ]

    def __str__(self) -> str:
        return self.account


class Answer(models.Model):
    """The stored answer to a request, so that the same request always gets the same bytes."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    request_topic = models.CharField(max_length=64)
    request_message_id = models.CharField(max_length=64)
    response_topic = models.CharField(max_length=64)
    message = models.TextField()
    tag = models.IntegerField()
    ttl = models.PositiveIntegerField()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["request_topic", "request_message_id"], name="answer_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"answer on {self.response_topic}"


class Notification(models.Model):
    """What a dapp asked us to send, once per call."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="notifications")
    idempotency_key = models.CharField(max_length=255, blank=True)
    type = models.CharField(max_length=64)
    title = models.CharField(max_length=64)
    body = models.CharField(max_length=255)
    icon = models.CharField(max_length=255, blank=True)
    url = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["project", "idempotency_key"],
                condition=~models.Q(idempotency_key=""),
                name="notification_idempotency_key_is_unique",
            )
        ]

    def __str__(self) -> str:
        return self.title


class Delivery(models.Model):
    """A notification on its way to one subscriber; ends in a receipt."""

    notification = models.ForeignKey(
        Notification, on_delete=models.CASCADE, related_name="deliveries"
    )
    subscriber = models.ForeignKey(
        Subscriber, on_delete=models.CASCADE, related_name="deliveries"
    )
    rpc_id = models.BigIntegerField()
    receipt_at = models.DateTimeField(null=True, blank=True)
    read_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["subscriber", "rpc_id"], name="delivery_rpc_id_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.rpc_id}"


class Webhook(models.Model):
    """Where a dapp wants to hear of subscribers coming and going."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="webhooks")
    url = models.CharField(max_length=255)
    events = models.JSONField(help_text='["subscribed", "unsubscribed"]')
    disabled_at = models.DateTimeField(null=True, blank=True)
    disabled_reason = models.CharField(max_length=200, blank=True)
    failing_since = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.url


class WebhookDelivery(models.Model):
    """One event for one webhook: signed, retried on a schedule, visible."""

    class State(models.TextChoices):
        DUE = "due"
        DELIVERED = "delivered"
        FAILED = "failed"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=16)
    body = models.TextField(help_text="the exact bytes that are sent")
    state = models.CharField(max_length=10, choices=State.choices, default=State.DUE)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    last_status = models.PositiveSmallIntegerField(null=True, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["next_attempt_at"],
                name="webhook_delivery_due",
                condition=models.Q(state="due"),
            )
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.webhook_id}: {self.state}"
