"""Admin pages of our relay clients: read-only rows, sizes instead of envelopes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages

from accounts.admin import ReadOnlyAdmin, SizedAdmin
from accounts.services import audit
from messaging import services
from messaging.models import (
    InboxClaim,
    InboxMessage,
    OutboxMessage,
    PartyClient,
    TopicSubscription,
)

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


@admin.register(InboxMessage)
class InboxMessageAdmin(SizedAdmin):
    list_display = (
        "id",
        "party",
        "tag",
        "topic",
        "state",
        "attempts",
        "size",
        "received_at",
        "reason",
    )
    list_filter = ("party", "state", "tag")
    search_fields = ("=topic", "=message_id")
    actions = ("replay",)

    @admin.action(
        description="Handle again what failed or was refused", permissions=["act"]
    )
    def replay(self, request: HttpRequest, rows: QuerySet[InboxMessage]) -> None:
        pks = list(rows.values_list("pk", flat=True))
        count = sum(services.replay(state, pks=pks) for state in services.REPLAYABLE)
        _audit(request, "relay.replay-inbox", count)
        messages.info(request, f"{count} messages are due again")


@admin.register(InboxClaim)
class InboxClaimAdmin(ReadOnlyAdmin):
    list_display = ("id", "leased_by", "leased_until")
    hidden = ("topics",)


@admin.register(OutboxMessage)
class OutboxMessageAdmin(SizedAdmin):
    list_display = (
        "id",
        "party",
        "tag",
        "topic",
        "state",
        "attempts",
        "size",
        "created_at",
        "reason",
    )
    list_filter = ("party", "state", "tag")
    search_fields = ("=topic", "=message_id")
    actions = ("publish_again", "cancel")

    @admin.action(description="Publish again what failed", permissions=["act"])
    def publish_again(
        self, request: HttpRequest, rows: QuerySet[OutboxMessage]
    ) -> None:
        count = services.publish_again(rows.values_list("pk", flat=True))
        _audit(request, "relay.publish-again", count)
        messages.info(request, f"{count} messages are due again")

    @admin.action(
        description="Cancel what is still to be published", permissions=["act"]
    )
    def cancel(self, request: HttpRequest, rows: QuerySet[OutboxMessage]) -> None:
        count = services.cancel(rows.values_list("pk", flat=True))
        _audit(request, "relay.cancel-outbox", count)
        messages.info(request, f"{count} messages were cancelled")


@admin.register(TopicSubscription)
class TopicSubscriptionAdmin(ReadOnlyAdmin):
    list_display = ("topic", "party", "state", "changed_at", "confirmed_at")
    list_filter = ("party", "state")
    search_fields = ("=topic",)
    hidden = ("callbacks",)


@admin.register(PartyClient)
class PartyClientAdmin(ReadOnlyAdmin):
    list_display = ("party", "did", "last_seen_at", "connected_since")


def _audit(request: HttpRequest, action: str, count: int) -> None:
    actor: Any = request.user
    audit(action, actor=actor, detail=f"{count} messages")
