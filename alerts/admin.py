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
    list_select_related = ("user",)


@admin.register(Mute)
class MuteAdmin(ReadOnlyAdmin):
    list_display = ("account", "dapp_url", "type", "until")
    search_fields = ("account__address", "dapp_url")
    list_select_related = ("account",)


@admin.register(PushSubscription)
class PushSubscriptionAdmin(ReadOnlyAdmin):
    list_display = ("device", "created_at", "delivered_at", "reason")
    list_select_related = ("device",)
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
    list_select_related = ("subscription",)


@admin.register(Forward)
class ForwardAdmin(ReadOnlyAdmin):
    list_display = ("user", "kind", "delivered_at", "disabled_at", "reason")
    list_filter = ("kind",)
    list_select_related = ("user",)
    hidden = ("url",)


@admin.register(ForwardDelivery)
class ForwardDeliveryAdmin(ReadOnlyAdmin):
    list_display = ("message_id", "forward", "attempts", "next_attempt_at", "reason")
    list_select_related = ("forward",)


@admin.register(Digest)
class DigestAdmin(ReadOnlyAdmin):
    list_display = ("user", "frequency", "confirmed_at", "next_attempt_at", "reason")
    list_select_related = ("user",)
    hidden = ("email",)
