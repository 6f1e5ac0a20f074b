"""Webhooks, their queued events and every attempt to deliver one."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models

from castserver.models.projects import Project
from common.work_queue import WorkItem


class Webhook(models.Model):
    """An address of a dapp that receives ``subscribed`` and ``unsubscribed`` events.

    Its secret is in the keychain. Until ``previous_secret_until`` the previous one is
    too, and events are signed with both.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="webhooks"
    )
    url = models.CharField(max_length=2048)
    events = models.JSONField(help_text='["subscribed", "unsubscribed"]')
    previous_secret_until = models.DateTimeField(null=True, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    disabled_reason = models.CharField(max_length=200, blank=True)
    failing_since = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.url


class WebhookDelivery(WorkItem):
    """One event for one webhook, retried on a schedule.

    ``id`` is the header ``webhook-id``: the same at every attempt, so that receivers can
    drop repeats.
    """

    class State(models.TextChoices):
        DUE = "due"
        DELIVERED = "delivered"
        FAILED = "failed"
        CANCELLED = "cancelled"

    retry_changes: ClassVar = {"state": "due"}

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    webhook = models.ForeignKey(
        Webhook, on_delete=models.CASCADE, related_name="deliveries", db_index=False
    )
    event = models.CharField(max_length=16)
    body = models.TextField(help_text="the exact text that is sent")
    state = models.CharField(max_length=10, choices=State.choices, default=State.DUE)
    last_status = models.PositiveSmallIntegerField(null=True, blank=True)
    created_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes: ClassVar = [
            *WorkItem.Meta.indexes,
            models.Index(
                fields=["webhook", "-created_at"], name="webhook_delivery_newest"
            ),
            models.Index(fields=["created_at"], name="webhook_delivery_by_age"),
        ]
        verbose_name_plural = "webhook deliveries"

    def __str__(self) -> str:
        return f"{self.event} to {self.webhook_id}: {self.state}"


class WebhookAttempt(models.Model):
    """One attempt of a delivery, for the log that the dapp's owner sees."""

    delivery = models.ForeignKey(
        WebhookDelivery, on_delete=models.CASCADE, related_name="tries", db_index=False
    )
    number = models.PositiveSmallIntegerField()
    at = models.DateTimeField()
    milliseconds = models.PositiveIntegerField()
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    # The beginning of the response's body.
    excerpt = models.TextField(blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["delivery", "number"], name="webhook_attempt_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.status or self.reason}"
