"""Notifications of dapps, their deliveries to subscribers, and accounts left out."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from castserver.models.projects import Project
from castserver.models.sending import RecipientList
from castserver.models.subscribers import ACCOUNT_LENGTH, Subscriber
from common import clock
from common.work_queue import WorkItem
from walletconnect.notify.values import CONTENT_FIELDS, NotifyMessage


class Notification(models.Model):
    """The content of one call of ``notify``; its deliveries name the receivers."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="notifications", db_index=False
    )
    # The dapp's own `notification_id`. Calls that repeat it add receivers and do not
    # change the content: a notification that was received cannot be edited.
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
            ),
            models.Index(fields=["created_at"], name="notification_by_age"),
        ]

    def __str__(self) -> str:
        return self.title

    @classmethod
    def of(
        cls, project: Project, message: NotifyMessage, *, notification_id: str = ""
    ) -> Notification:
        """An unsaved row."""
        return cls(
            project=project,
            idempotency_key=notification_id,
            created_at=clock.now(),
            **{name: getattr(message, name) for name in CONTENT_FIELDS},
        )

    @property
    def message(self) -> NotifyMessage:
        return NotifyMessage(**{name: getattr(self, name) for name in CONTENT_FIELDS})


class Broadcast(WorkItem):
    """A notification on its way to many accounts, chunk by chunk, at once or later."""

    class Audience(models.TextChoices):
        EVERYONE = "everyone", "every subscriber that allows the type"
        RECIPIENTS = "recipients", "the accounts of a list"
        RETRY = "retry", "the accounts that it did not reach"

    notification = models.OneToOneField(
        Notification,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="broadcast",
    )
    audience = models.CharField(
        max_length=10, choices=Audience.choices, default=Audience.EVERYONE
    )
    # Of an audience EVERYONE: only those who also allow this type.
    also_type = models.CharField(max_length=64, blank=True)
    # RESTRICT: a list that is still to be sent to must not go away.
    recipients = models.ForeignKey(
        RecipientList,
        null=True,
        blank=True,
        on_delete=models.RESTRICT,
        related_name="broadcasts",
    )
    scheduled_for = models.DateTimeField(null=True, blank=True)
    # The zone that the time was entered in, for showing it.
    time_zone = models.CharField(max_length=64, blank=True)
    # Accounts up to this key have been sent to.
    cursor = models.CharField(max_length=ACCOUNT_LENGTH, blank=True)
    expected = models.PositiveIntegerField(
        null=True, blank=True, help_text="accounts, as counted after the first chunk"
    )
    sent = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(null=True, blank=True)
    is_cancelled = models.BooleanField(default=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.sent} of {self.expected or '?'}"

    @property
    def is_waiting(self) -> bool:
        """Scheduled, and not begun."""
        return (
            self.scheduled_for is not None
            and self.started_at is None
            and self.finished_at is None
        )

    @property
    def processed(self) -> int:
        return self.sent + self.failed


class DueDeliveries(models.Model):
    """Subscribers of a large call whose deliveries are to be built, a chunk to a row.

    Deliveries are written once, with their message, so that nothing is written for one
    that is only due.
    """

    notification = models.ForeignKey(
        Notification, on_delete=models.CASCADE, related_name="due"
    )
    subscribers = ArrayField(models.BigIntegerField(), help_text="primary keys")
    created_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "due deliveries"

    def __str__(self) -> str:
        return f"{len(self.subscribers)} of {self.notification_id}"


class Delivery(models.Model):
    """One notification for one subscriber. Its message is in the outbox.

    Ids are ordered by time: pages of ``wc_notifyGetNotifications`` are newest first.
    A call may insert ten thousand rows, so the foreign keys have no index of their own
    where a constraint begins with the same column.
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
    # When the message was put in the outbox, which is one transaction with this row.
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
        ]
        verbose_name_plural = "deliveries"

    def __str__(self) -> str:
        return f"{self.rpc_id}"


class Undelivered(models.Model):
    """An account named by a call that got no delivery, and the reason."""

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
