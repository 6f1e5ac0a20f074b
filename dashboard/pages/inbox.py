"""The inbox: filtered and paginated notifications.

The URL holds the complete state: tab, account, dapp, type, search text and page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import OuterRef, Q, Subquery

from dashboard.frame import MAX_COUNTED
from dashboard.keys import parse_pk
from subscriptions.models import DappDocument, NotifyMessageRecord, Subscription

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django.db.models import QuerySet
    from django.http import QueryDict

PAGE = 60
# Limit of "Load older": the browser gets slow with more rows in one list.
MAX_ROWS = 10 * PAGE
# More new rows than this are only counted, not inserted above the reader's position.
MAX_INSERTED = 200
MAX_OPENED = 50
TABS = ("unread", "all", "archived")
MAX_SEARCH_LENGTH = 100


@dataclass(frozen=True, slots=True)
class InboxFilter:
    tab: str = "unread"
    account_pk: int | None = None
    dapp: str = ""
    type: str = ""
    text: str = ""
    before: int | None = None
    rows: int = PAGE

    @classmethod
    def of(cls, query: QueryDict, account_pk: int | None) -> InboxFilter:
        tab = query.get("tab", "")
        return cls(
            tab=tab if tab in TABS else TABS[0],
            account_pk=account_pk,
            dapp=query.get("dapp", "")[:255],
            type=query.get("type", "")[:64],
            text=query.get("q", "").strip()[:MAX_SEARCH_LENGTH],
            before=parse_pk(query.get("before", "")),
            rows=min(max(parse_pk(query.get("rows", "")) or PAGE, PAGE), MAX_ROWS),
        )

    @property
    def is_narrowed(self) -> bool:
        return bool(self.dapp or self.type or self.text or self.account_pk)

    @property
    def takes_new_rows(self) -> bool:
        """Whether the browser can decide that a new row belongs into this list. It cannot
        evaluate a text search, and older pages do not start at the newest row."""
        return not self.text and self.before is None


@dataclass(frozen=True, slots=True)
class DappChoice:
    url: str
    name: str


@dataclass(frozen=True, slots=True)
class ListPosition:
    """What a browser that reloads the page shows: its newest row and, if the user has
    scrolled down, the number of rows to keep from there. ``opened`` rows stay in the
    Unread tab although they have been read."""

    newest: int | None = None
    hold: int = 0
    opened: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class InboxPage:
    """``newer`` counts the rows above the browser's newest one. With ``is_held`` there are
    too many to insert, and the page starts below them."""

    filter: InboxFilter
    records: list[NotifyMessageRecord]
    older: int | None
    newer: int
    is_held: bool
    dapps: list[DappChoice]
    types: list[tuple[str, str]]


def records_of(user_id: int) -> QuerySet[NotifyMessageRecord]:
    """The user's notifications with subscription and account.

    ``offered_types`` are the types in the dapp's document; they contain the type's name.
    """
    document = DappDocument.objects.filter(url=OuterRef("subscription__dapp_url"))
    return (
        NotifyMessageRecord.objects.filter(subscription__account__user_id=user_id)
        .select_related("subscription__account")
        .annotate(offered_types=Subquery(document.values("types")[:1]))
    )


def inbox_page(
    user_id: int,
    wanted: InboxFilter,
    position: ListPosition = ListPosition(),
) -> InboxPage:
    opened = position.opened[:MAX_OPENED]
    rows = _narrowed(records_of(user_id), wanted, opened).defer("message_auth")
    limit, newer, is_held = wanted.rows, 0, False
    if wanted.before is not None:
        rows = _before(rows, user_id, wanted.before)
    elif position.newest is not None:
        above = _after(rows, user_id, position.newest)
        newer = above[: MAX_COUNTED + 1].count()
        is_held = position.hold > 0 and newer > MAX_INSERTED
        limit = max(limit, min(position.hold, MAX_ROWS))
        if is_held:
            rows = rows.exclude(pk__in=above.values("pk"))
        elif position.hold:
            limit += newer
    found = list(rows.order_by("-published_at", "-pk")[: limit + 1])
    more = len(found) > limit
    records = found[:limit]
    dapps, types = _choices(user_id, wanted)
    return InboxPage(
        filter=wanted,
        records=records,
        older=records[-1].pk if more else None,
        newer=newer,
        is_held=is_held,
        dapps=dapps,
        types=types,
    )


def _narrowed(
    rows: QuerySet[NotifyMessageRecord], wanted: InboxFilter, opened: Sequence[int]
) -> QuerySet[NotifyMessageRecord]:
    if wanted.tab == "archived":
        rows = rows.exclude(archived_at=None)
    else:
        rows = rows.filter(archived_at=None)
    if wanted.tab == "unread":
        rows = rows.filter(Q(read_at=None) | Q(pk__in=opened))
    if wanted.account_pk is not None:
        rows = rows.filter(subscription__account_id=wanted.account_pk)
    if wanted.dapp:
        rows = rows.filter(subscription__dapp_url=wanted.dapp)
    if wanted.type:
        rows = rows.filter(type=wanted.type)
    for word in wanted.text.split():
        rows = rows.filter(Q(title__icontains=word) | Q(body__icontains=word))
    return rows


def _before(
    rows: QuerySet[NotifyMessageRecord], user_id: int, pk: int
) -> QuerySet[NotifyMessageRecord]:
    """Rows older than ``pk``. A keyset, not an offset: new rows must not shift the page."""
    at = _published_at(user_id, pk)
    if at is None:
        return rows.none()
    return rows.filter(Q(published_at__lt=at) | Q(published_at=at, pk__lt=pk))


def _after(
    rows: QuerySet[NotifyMessageRecord], user_id: int, pk: int
) -> QuerySet[NotifyMessageRecord]:
    at = _published_at(user_id, pk)
    if at is None:
        return rows.none()
    return rows.filter(Q(published_at__gt=at) | Q(published_at=at, pk__gt=pk))


def _published_at(user_id: int, pk: int) -> datetime | None:
    found = records_of(user_id).filter(pk=pk).values_list("published_at", flat=True)
    return found.first()


def _choices(
    user_id: int, wanted: InboxFilter
) -> tuple[list[DappChoice], list[tuple[str, str]]]:
    """Options of the filters: the user's dapps, and ids and names of the chosen dapp's types."""
    subscriptions = Subscription.objects.of_user(user_id).order_by("dapp_url", "-pk")
    dapps: dict[str, DappChoice] = {}
    types: set[str] = set()
    for url, metadata, scope in subscriptions.values_list(
        "dapp_url", "metadata", "scope"
    ):
        dapps.setdefault(url, DappChoice(url, metadata.get("name") or url))
        if url == wanted.dapp:
            types.update(scope)
    ordered = sorted(dapps.values(), key=lambda dapp: dapp.name.lower())
    document = DappDocument.objects.filter(url=wanted.dapp).first() if types else None
    offered = document.types if document else []
    return ordered, [(each, type_name(each, offered)) for each in sorted(types)]


def type_name(type_id: str, offered: list[dict[str, str]] | None) -> str:
    """The type's title from the dapp's document, or its id if it is not listed."""
    for each in offered or []:
        if each["name"] == type_id:
            return each.get("title") or type_id
    return type_id


def record_of(user_id: int, pk: int) -> NotifyMessageRecord | None:
    return records_of(user_id).select_related("read_by").filter(pk=pk).first()
