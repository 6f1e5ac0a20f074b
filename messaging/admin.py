"""What an administrator sees of the relay's clients: rows to look at, no text of messages.

Envelopes are sealed, but what is not shown cannot be copied: the pages show sizes only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.db.models.functions import Length

from accounts.admin import ReadOnlyAdmin
from accounts.services import audit
from messaging import services
from relayserver.models import ArchivedTag, PublishedMessage, RelayLog
from messaging.models import (InboxMessage, OutboxMessage, PartyClient, TopicSubscription)
from runlog.models import StepRecord

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


class SizedAdmin(ReadOnlyAdmin):
    """Shows the size of a message in place of the message."""

    hidden: ClassVar[tuple[str, ...]] = ("message",)
    readonly_fields = ("size",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).defer("message")
        sized: QuerySet[Any] = rows.annotate(message_size=Length("message"))
        return sized

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Looking is for staff; acting is for those who may change the rows."""
        user: Any = request.user
        return bool(user.has_perm(f"relay.change_{self.opts.model_name}"))

    @admin.display(description="message, bytes")
    def size(self, row: Any) -> int:
        return int(row.message_size)


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
    hidden = ("steps",)


@admin.register(PartyClient)
class PartyClientAdmin(ReadOnlyAdmin):
    list_display = ("party", "did", "last_seen_at", "connected_since")


@admin.register(StepRecord)
class StepRecordAdmin(ReadOnlyAdmin):
    list_display = ("run", "step", "actor", "at")
    list_filter = ("step",)
    search_fields = ("=run",)


def _audit(request: HttpRequest, action: str, count: int) -> None:
    actor: Any = request.user
    audit(action, actor=actor, detail=f"{count} messages")


# What the embedded relay keeps. Its marks for each client of a topic have a key of several
# columns, which Django's admin does not show.


@admin.register(PublishedMessage)
class PublishedMessageAdmin(SizedAdmin):
    hidden = ("message", "attestation")
    list_display = ("id", "tag", "topic", "publisher", "size", "published_at")
    search_fields = ("=topic", "=message_id")


@admin.register(RelayLog)
class RelayLogAdmin(ReadOnlyAdmin):
    list_display = ("id", "head")


@admin.register(ArchivedTag)
class ArchivedTagAdmin(ReadOnlyAdmin):
    list_display = ("tag", "since")
