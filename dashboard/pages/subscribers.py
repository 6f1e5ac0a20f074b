"""Subscribers of a project: the list with its filters, CSV, and numbers by day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.utils.http import urlencode

from castserver.models import Subscriber, SubscriberCount
from castserver.services.subscribers.counts import today
from common import clock
from common.csv_text import csv_rows
from dashboard.keys import parse_pk
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId, with_chain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from django.http import QueryDict

    from castserver.models import Project
    from castserver.models.subscribers import SubscriberQuerySet

PAGE: Final = 100
CSV_PAGE: Final = 2_000
DAYS: Final = 30
CSV_COLUMNS: Final = ("account", "types", "since", "until", "topic")


@dataclass(frozen=True, slots=True)
class SubscriberFilter:
    account: str = ""
    type: str = ""
    before: int | None = None

    @classmethod
    def parse(cls, query: QueryDict) -> SubscriberFilter:
        return cls(
            account=query.get("q", "").strip()[:168],
            type=query.get("type", "")[:64],
            before=parse_pk(query.get("before", "")),
        )

    @property
    def query(self) -> str:
        parts = {"q": self.account, "type": self.type}
        return urlencode({name: value for name, value in parts.items() if value})


@dataclass(frozen=True, slots=True)
class SubscriberPage:
    filter: SubscriberFilter
    subscribers: list[Subscriber]
    older: int | None


@dataclass(frozen=True, slots=True)
class DailyNumbers:
    """``rows`` are (name, one number a day); the first is of all subscribers."""

    days: list[datetime]
    rows: list[tuple[str, list[int]]]


def matching(
    project: Project, wanted: SubscriberFilter, only: Collection[str] | None
) -> SubscriberQuerySet:
    """Live subscriptions; ``only`` restricts them to these accounts."""
    found = Subscriber.objects.of(project.pk).live(clock.now())
    if only is not None:
        found = found.of_accounts(AccountId.parse(text).key for text in only)
    if wanted.account:
        try:
            account = AccountId.parse(with_chain(wanted.account))
        except RemoteProtocolError:
            return found.none()
        found = found.of_accounts([account.key])
    return found.filter(scope__contains=[wanted.type]) if wanted.type else found


def subscriber_page(
    project: Project, wanted: SubscriberFilter, only: Collection[str] | None = None
) -> SubscriberPage:
    found = matching(project, wanted, only)
    if wanted.before is not None:
        found = found.filter(pk__lt=wanted.before)
    rows = list(found.order_by("-pk")[: PAGE + 1])
    older = rows[PAGE - 1].pk if len(rows) > PAGE else None
    return SubscriberPage(wanted, rows[:PAGE], older)


def subscribers_csv(project: Project, wanted: SubscriberFilter) -> Iterator[bytes]:
    """All matching subscriptions, oldest first, in chunks.

    Each chunk is a query of its own: a slow reader occupies no database connection.
    """
    yield csv_rows([CSV_COLUMNS])
    last = 0
    while True:
        found = matching(project, wanted, None).filter(pk__gt=last)
        rows = list(found.order_by("pk")[:CSV_PAGE])
        if not rows:
            return
        yield csv_rows(
            [
                (
                    row.account,
                    " ".join(row.scope),
                    row.created_at.isoformat(),
                    row.expires_at.isoformat(),
                    row.topic,
                )
                for row in rows
            ]
        )
        last = rows[-1].pk


def numbers_by_day(project: Project, type_names: dict[str, str]) -> DailyNumbers:
    """Of the last thirty days (UTC), as the hourly count stored them."""
    newest = today()
    days = [newest - timedelta(days=back) for back in reversed(range(DAYS))]
    stored = SubscriberCount.objects.filter(project=project, day__gte=days[0])
    by_type: dict[str, dict[datetime, int]] = {}
    for type_id, day, number in stored.values_list("type_id", "day", "number"):
        by_type.setdefault(type_id, {})[day] = number
    names = {"": "", **type_names} if by_type else {}
    rows = [
        (name, [by_type.get(type_id, {}).get(day, 0) for day in days])
        for type_id, name in names.items()
    ]
    return DailyNumbers(days, rows)
