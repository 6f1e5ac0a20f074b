"""Sending from the console: what was sent, what is scheduled, and whom it reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Count, Func, Q, QuerySet, Sum
from django.utils.translation import gettext_lazy as _

from castserver.models import Broadcast, Delivery, Notification
from common import clock
from dashboard.keys import is_uuid, parse_pk

if TYPE_CHECKING:
    from uuid import UUID

    from django_stubs_ext import StrPromise

    from accounts.models import User
    from castserver.models import Project

PAGE: Final = 100
# Receipts arrive within seconds; the page asks for them this long after sending.
WATCH_S: Final = 600
# What a link of the page shows: the label, and the deliveries it means.
STATES: Final[dict[str, tuple[StrPromise, Q]]] = {
    "": (_("All"), Q()),
    "received": (_("Received"), Q(receipt_at__isnull=False)),
    "silent": (_("Sent, not received"), Q(sent_at__isnull=False, receipt_at=None)),
    "read": (_("Read"), Q(read_at__isnull=False)),
    "opened": (_("Opened"), Q(opened_at__isnull=False)),
}
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """A number of the funnel and what it means."""

    number: int
    label: StrPromise
    meaning: StrPromise
    show: str


@dataclass(frozen=True, slots=True)
class SentPage:
    notification: Notification
    # Of a call that named its accounts there is none.
    broadcast: Broadcast | None
    steps: list[Step]
    deliveries: list[Delivery]
    undelivered: list[tuple[int, str, str]]
    undelivered_count: int
    show: str
    # Where the next page begins; empty on the last one.
    older: str
    # Subscribers whose messages are still to be built.
    waiting: int
    is_watched: bool

    @property
    def is_running(self) -> bool:
        return self.broadcast is not None and self.broadcast.finished_at is None

    @property
    def states(self) -> list[tuple[str, StrPromise]]:
        labels = [(name, label) for name, (label, _) in STATES.items()]
        return [*labels, (FAILED, _("Not sent"))]


def sent_page(
    project: Project, notification_id: UUID, *, show: str = "", after: str = ""
) -> SentPage | None:
    notification = project.notifications.filter(pk=notification_id).first()
    if notification is None:
        return None
    found = notification.deliveries
    numbers = found.aggregate(
        sent=Count("pk", filter=Q(sent_at__isnull=False)),
        received=Count("pk", filter=Q(receipt_at__isnull=False)),
        read=Count("pk", filter=Q(read_at__isnull=False)),
        opened=Count("pk", filter=Q(opened_at__isnull=False)),
    )
    # Messages that are still to be built.
    due = notification.due.aggregate(
        number=Sum(Func("subscribers", function="cardinality"))
    )
    broadcast = Broadcast.objects.filter(notification=notification).first()
    deliveries: list[Delivery] = []
    undelivered: list[tuple[int, str, str]] = []
    older = ""
    if show in STATES:
        rows: QuerySet[Any] = found.filter(STATES[show][1])
        if is_uuid(after):
            rows = rows.filter(pk__lt=after)
        deliveries = list(rows.select_related("subscriber").order_by("-pk")[:PAGE])
        older = str(deliveries[-1].pk) if len(deliveries) == PAGE else ""
    if show == FAILED or (show == "" and not older):
        rows = notification.undelivered.order_by("pk")
        if show == FAILED and (pk := parse_pk(after)) is not None:
            rows = rows.filter(pk__gt=pk)
        undelivered = list(rows.values_list("pk", "account", "reason")[:PAGE])
        if show == FAILED and len(undelivered) == PAGE:
            older = str(undelivered[-1][0])
    now = clock.now()
    return SentPage(
        notification=notification,
        broadcast=broadcast,
        steps=_steps(numbers, counts_clicks=project.counts_clicks),
        deliveries=deliveries,
        undelivered=undelivered,
        undelivered_count=notification.undelivered.count(),
        show=show,
        older=older,
        waiting=due["number"] or 0,
        is_watched=bool(due["number"])
        or (broadcast is not None and broadcast.finished_at is None)
        or (now - notification.created_at).total_seconds() < WATCH_S,
    )


def _steps(numbers: dict[str, int], *, counts_clicks: bool) -> list[Step]:
    return [
        Step(
            numbers["sent"],
            _("sent"),
            _("Messages handed to the relay, one for each subscription of an account."),
            "",
        ),
        Step(
            numbers["received"],
            _("received"),
            _("A wallet of the account has acknowledged it."),
            "received",
        ),
        Step(
            numbers["read"],
            _("read"),
            _("A wallet has reported it as read; only wallets of 2024 and later do."),
            "read",
        ),
        Step(
            numbers["opened"],
            _("opened"),
            _("Its link was opened through this server.")
            if counts_clicks
            else _("Not counted: this project does not count opened links."),
            "opened",
        ),
    ]


def send_token(user: User, project: Project) -> str:
    """The token of the send form; it changes with each notification the user sends."""
    own = project.notifications.filter(
        idempotency_key__startswith=f"console-{user.pk}-"
    )
    newest = own.order_by("-created_at").values_list("pk", flat=True).first()
    return str(newest) if newest else "first"
