"""Doing work of a time range again: after a fault was repaired, or for a receiver that
lost what it had.

Everything that keeps what it takes to do it again: rows that failed, received messages
that were refused, and webhook events that were delivered. Sent relay messages and handled
ones cannot be replayed, because their text is deleted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.db import transaction
from django.db.models import Q
from django.utils.text import capfirst
from django.utils.translation import gettext

from accounts.services import audit
from castserver.models import WebhookDelivery
from castserver.services.webhooks.webhooks import send_again
from messaging import services as messaging
from messaging.models import InboxMessage
from notifyweb.operations.queues import MAX_CHANGED, Queue, queue_named, queues

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from django.db.models import QuerySet

    from accounts.models import Device, User

# The time that a failed row is found by. Rows of other queues have none: each belongs to
# something that exists once, and /ops/failed retries it.
DATED_BY: Final = {
    "messaging.InboxMessage": "received_at",
    "messaging.OutboxMessage": "created_at",
    "alerts.ForwardDelivery": "created_at",
    "alerts.PushDelivery": "created_at",
    "castserver.Broadcast": "started_at",
    "castserver.WebhookDelivery": "created_at",
    "identity.IdentityKey": "created_at",
    "identity.IdentityUnregistration": "created_at",
    "subscriptions.AccountWatch": "requested_at",
    "subscriptions.Icon": "wanted_at",
    "syncstore.ColdStart": "started_at",
    "syncstore.StoreCheck": "requested_at",
}


class TooManyRows(Exception):
    """The range has more rows than one replay may change."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Rows of a queue in one state that can be done again."""

    name: str
    label: str
    queue: Queue
    condition: Q
    redo: Callable[[list[Any]], int]

    def rows(self, since: datetime, until: datetime) -> QuerySet[Any]:
        column = DATED_BY[self.queue.name]
        within = {f"{column}__gte": since, f"{column}__lt": until}
        return self.queue.rows(self.condition).filter(**within).order_by()

    def count(self, since: datetime, until: datetime) -> int:
        """How many rows there are; ``MAX_CHANGED + 1`` stands for more."""
        return self.rows(since, until)[: MAX_CHANGED + 1].count()


def replays() -> list[Replay]:
    found = [
        Replay(
            name=f"{queue.name}:failed",
            label=gettext("%(queue)s: failed") % {"queue": capfirst(queue.label)},
            queue=queue,
            condition=queue.dead,
            redo=queue.retry,
        )
        for queue in queues()
        if queue.name in DATED_BY
    ]
    inbox = queue_named("messaging.InboxMessage")
    events = queue_named("castserver.WebhookDelivery")
    if inbox is None or events is None:
        raise LookupError("a queue of the table is missing")
    found.append(
        Replay(
            name=f"{inbox.name}:refused",
            label=gettext("%(queue)s: refused") % {"queue": capfirst(inbox.label)},
            queue=inbox,
            condition=Q(state=InboxMessage.State.REFUSED) & ~Q(message=""),
            redo=lambda pks: messaging.replay(InboxMessage.State.REFUSED, pks=pks),
        )
    )
    for state, label in (
        (WebhookDelivery.State.DELIVERED, gettext("%(queue)s: delivered")),
        (WebhookDelivery.State.CANCELLED, gettext("%(queue)s: cancelled")),
    ):
        found.append(
            Replay(
                name=f"{events.name}:{state}",
                label=label % {"queue": capfirst(events.label)},
                queue=events,
                # A webhook that is paused sends nothing.
                condition=Q(state=state, webhook__disabled_at=None),
                redo=send_again,
            )
        )
    return sorted(found, key=lambda each: each.name)


def replay(
    chosen: Replay,
    since: datetime,
    until: datetime,
    *,
    actor: User,
    device: Device | None,
) -> int:
    """Make the rows of the range due; returns how many, or raises ``TooManyRows``."""
    with transaction.atomic():
        rows = chosen.rows(since, until).select_for_update(
            skip_locked=True, of=("self",)
        )
        pks = list(rows.values_list("pk", flat=True)[: MAX_CHANGED + 1])
        if len(pks) > MAX_CHANGED:
            raise TooManyRows
        if not pks:
            return 0
        count = chosen.redo(pks)
        audit(
            "queue.replay",
            actor=actor,
            device=device,
            subject=chosen.name,
            detail=f"{count} rows of {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M %Z}",
        )
    return count
