"""Who wants to be alerted, how and when, and what is still to be sent.

Secrets (the ``auth`` secret of a push subscription, tokens of forwards, the VAPID key)
are in the keychain; see ``alerts.services``.
"""

from __future__ import annotations

import uuid
from datetime import time
from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models import Account, Device, User
from common.work_queue import REASON_LENGTH, WorkItem
from subscriptions.models import NotifyMessageRecord


class AlertSettings(models.Model):
    """When a person does not want to be alerted. Without a row: always alerted."""

    user = models.OneToOneField(
        User, on_delete=models.CASCADE, primary_key=True, related_name="alert_settings"
    )
    # Local times. Equal: no quiet hours. The end may be on the next day.
    quiet_from = models.TimeField(default=time(22))
    quiet_until = models.TimeField(default=time(22))
    quiet_weekends = models.BooleanField(
        default=False, help_text="Saturday and Sunday are quiet all day"
    )
    time_zone = models.CharField(max_length=64, default="UTC")

    class Meta:
        verbose_name_plural = "alert settings"

    def __str__(self) -> str:
        return f"alert settings of {self.user_id}"


class Mute(models.Model):
    """An account's notifications of one dapp that arrive without an alert."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="mutes")
    dapp_url = models.CharField(max_length=2048)
    type = models.CharField(
        max_length=64, blank=True, help_text="empty: all types of the dapp"
    )
    until = models.DateTimeField(
        null=True, blank=True, help_text="empty: until it is turned off"
    )
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["account", "dapp_url", "type"], name="mute_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.dapp_url} {self.type}".strip()


# --- Web Push ---------------------------------------------------------------------------


class PushSubscription(models.Model):
    """Where one browser receives Web Push (RFC 8030), and its key (RFC 8291)."""

    device = models.OneToOneField(
        Device, on_delete=models.CASCADE, related_name="push_subscription"
    )
    endpoint = models.CharField(max_length=2048)
    public_key = models.BinaryField(help_text="p256dh: a P-256 point, 65 bytes")
    created_at = models.DateTimeField()
    delivered_at = models.DateTimeField(
        null=True, blank=True, help_text="when the push service last accepted a message"
    )
    reason = models.CharField(
        "why the last message was not accepted", max_length=REASON_LENGTH, blank=True
    )

    def __str__(self) -> str:
        return f"push to {self.device_id}"


class PushDelivery(WorkItem):
    """One notification on its way to one browser, and whether it is shown there."""

    class State(models.TextChoices):
        DUE = "due", "to be shown"
        SHOWN = "shown", "shown"
        WITHDRAW = "withdraw", "read elsewhere, to be withdrawn"

    subscription = models.ForeignKey(
        PushSubscription, on_delete=models.CASCADE, related_name="deliveries"
    )
    # Empty: a test that the person asked for.
    message = models.ForeignKey(
        NotifyMessageRecord, null=True, on_delete=models.CASCADE, related_name="+"
    )
    state = models.CharField(max_length=8, choices=State.choices, default=State.DUE)
    # Arrived in quiet hours: shown afterwards, without a sound.
    is_silent = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_index=True)

    class Meta(WorkItem.Meta):
        verbose_name_plural = "push deliveries"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["message", "subscription"], name="push_delivery_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.state} {self.message_id} to {self.subscription_id}"


# --- forwarding -------------------------------------------------------------------------


class Forward(models.Model):
    """A service of the person's own that receives every notification."""

    class Kind(models.TextChoices):
        NTFY = "ntfy", "ntfy"
        GOTIFY = "gotify", "Gotify"
        WEBHOOK = "webhook", _("Webhook (JSON)")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="forwards")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    url = models.CharField(max_length=2048)
    created_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True, blank=True)
    failing_since = models.DateTimeField(null=True, blank=True)
    disabled_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(
        "why the last notification was not accepted",
        max_length=REASON_LENGTH,
        blank=True,
    )

    def __str__(self) -> str:
        return f"{self.kind} of {self.user_id}"


class ForwardDelivery(WorkItem):
    """One notification on its way to one forward. Deleted when it was accepted."""

    forward = models.ForeignKey(
        Forward, on_delete=models.CASCADE, related_name="deliveries"
    )
    # Empty: a test that the person asked for.
    message = models.ForeignKey(
        NotifyMessageRecord, null=True, on_delete=models.CASCADE, related_name="+"
    )
    created_at = models.DateTimeField(db_index=True)

    class Meta(WorkItem.Meta):
        verbose_name_plural = "forward deliveries"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["message", "forward"], name="forward_delivery_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.message_id} to {self.forward_id}"


# --- digest -----------------------------------------------------------------------------


class Digest(WorkItem):
    """A person's mail address, and the regular mail about what is unread there.

    ``next_attempt_at`` is when the next mail is due.
    """

    class Frequency(models.TextChoices):
        DAILY = "daily", _("Every day")
        WEEKLY = "weekly", _("Every Monday")
        # The address only, for mails about the person's projects.
        NEVER = "never", _("Never, only mails about my dapps")

    user = models.OneToOneField(
        User, on_delete=models.CASCADE, primary_key=True, related_name="digest"
    )
    email = models.EmailField()
    frequency = models.CharField(max_length=8, choices=Frequency.choices)
    hour = models.PositiveSmallIntegerField(default=8, help_text="local time, 0 to 23")
    # Nothing is sent to an address before its link was opened.
    confirmed_at = models.DateTimeField(null=True, blank=True)
    # Notifications that arrived after it are in the next mail.
    covered_until = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.frequency} digest of {self.user_id}"
