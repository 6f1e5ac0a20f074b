"""Admin pages of alerts: read-only rows, no keys, no texts."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import ReadOnlyAdmin
from alerts.models import (
    AlertSettings,
    Digest,
    Forward,
    ForwardDelivery,
    Mute,
    PushDelivery,
    PushSubscription,
)


@admin.register(AlertSettings)
class AlertSettingsAdmin(ReadOnlyAdmin):
    list_display = ("user", "quiet_from", "quiet_until", "quiet_weekends", "time_zone")


@admin.register(Mute)
class MuteAdmin(ReadOnlyAdmin):
    list_display = ("account", "dapp_url", "type", "until")
    search_fields = ("account__address", "dapp_url")


@admin.register(PushSubscription)
class PushSubscriptionAdmin(ReadOnlyAdmin):
    list_display = ("device", "created_at", "delivered_at", "reason")
    # A secret: it is all that is needed to send to it.
    hidden = ("endpoint", "public_key")


@admin.register(PushDelivery)
class PushDeliveryAdmin(ReadOnlyAdmin):
    list_display = (
        "message_id",
        "subscription",
        "state",
        "attempts",
        "next_attempt_at",
    )
    list_filter = ("state",)


@admin.register(Forward)
class ForwardAdmin(ReadOnlyAdmin):
    list_display = ("user", "kind", "delivered_at", "disabled_at", "reason")
    list_filter = ("kind",)
    hidden = ("url",)


@admin.register(ForwardDelivery)
class ForwardDeliveryAdmin(ReadOnlyAdmin):
    list_display = ("message_id", "forward", "attempts", "next_attempt_at", "reason")


@admin.register(Digest)
class DigestAdmin(ReadOnlyAdmin):
    list_display = ("user", "frequency", "confirmed_at", "next_attempt_at", "reason")
    hidden = ("email",)
