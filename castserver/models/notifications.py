"""What dapps asked us to send, and what became of it."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models

from castserver.models.projects import Project
from castserver.models.subscribers import ACCOUNT_LENGTH, Subscriber


class Notification(models.Model):
    """What a dapp asked us to send, once per call."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="notifications"
    )
    # The dapp's own `notification_id`: the first content of an id stays.
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
        indexes: ClassVar = [
            models.Index(
                fields=["project", "-created_at"], name="notification_newest_first"
            )
        ]

    def __str__(self) -> str:
        return self.title


class Delivery(models.Model):
    """A notification on its way to one subscriber; ends in a receipt.

    Ids are ordered by time: newest first is the order of the later generation's pages.
    Ten thousand rows at a time are usual, so no index repeats what another begins with.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    notification = models.ForeignKey(
        Notification,
        on_delete=models.CASCADE,
        related_name="deliveries",
        db_index=False,
    )
    subscriber = models.ForeignKey(
        Subscriber, on_delete=models.CASCADE, related_name="deliveries", db_index=False
    )
    rpc_id = models.BigIntegerField("JSON-RPC id")
    created_at = models.DateTimeField()
    # Empty: its message still has to be built and put in the outbox.
    sent_at = models.DateTimeField(null=True, blank=True)
    receipt_at = models.DateTimeField(null=True, blank=True)
    read_at = models.DateTimeField(null=True, blank=True)
    opened_at = models.DateTimeField("link opened", null=True, blank=True)
    open_count = models.PositiveIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["subscriber", "rpc_id"], name="delivery_rpc_id_is_unique"
            ),
            models.UniqueConstraint(
                fields=["notification", "subscriber"], name="delivered_once"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["subscriber", "-id"], name="delivery_newest_first"),
            models.Index(
                fields=["created_at"],
                name="delivery_due",
                condition=models.Q(sent_at=None),
            ),
        ]
        verbose_name_plural = "deliveries"

    def __str__(self) -> str:
        return f"{self.rpc_id}"


class Undelivered(models.Model):
    """An account that a notification was meant for and did not go to, and why."""

    notification = models.ForeignKey(
        Notification,
        on_delete=models.CASCADE,
        related_name="undelivered",
        db_index=False,
    )
    account = models.CharField(max_length=ACCOUNT_LENGTH)
    reason = models.CharField(max_length=200)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["notification", "account"], name="undelivered_once"
            )
        ]
        verbose_name_plural = "undelivered"

    def __str__(self) -> str:
        return f"{self.account}: {self.reason}"
