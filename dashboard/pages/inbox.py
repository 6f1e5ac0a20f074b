"""The inbox: filtered and paginated notifications.

The URL holds the complete state: tab, account, dapp, type, dates, search text and page.

The newest rows are found subscription by subscription, with an index for each tab, so that
a page costs the same however many notifications there are (``_newest``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import (
    BooleanField,
    F,
    Func,
    OuterRef,
    Q,
    Subquery,
)
from django.utils import timezone
from django.utils.translation import gettext

from common import clock
from dashboard.formatting import format_date
from dashboard.frame import MAX_COUNTED
from dashboard.keys import parse_pk
from dashboard.models import SavedFilter
from dashboard.pages.message_rows import MessageRow, rows_of, type_name
from subscriptions.models import (
    DappDocument,
    NotifyMessageRecord,
    Subscription,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet
    from django.http import QueryDict

    from accounts.models import Account
    from subscriptions.models.subscriptions import (
        NotifyMessageRecordQuerySet,
        SubscriptionQuerySet,
    )

PAGE = 60
# Limit of "Load older": the browser gets slow with more rows in one list.
MAX_ROWS = 10 * PAGE
# More new rows than this are only counted, not inserted above the reader's position.
MAX_INSERTED = 200
MAX_OPENED = 50
TABS = ("unread", "all", "snoozed", "archived")
MAX_SEARCH_LENGTH = 100
MAX_NAME_LENGTH = 40


class FilterRefused(ValueError):
    """The filter was not saved; the text is for the person who named it."""


@dataclass(frozen=True, slots=True)
class InboxFilter:
    tab: str = "unread"
    account_pk: int | None = None
    dapp: str = ""
    type: str = ""
    text: str = ""
    # Days in the reader's time zone, both included.
    since: date | None = None
    until: date | None = None
    before: int | None = None
    rows: int = PAGE

    @classmethod
    def of(cls, query: QueryDict, account_pk: int | None) -> InboxFilter:
        tab = query.get("tab", "")
        return cls(
            tab=tab if tab in TABS else TABS[0],
            account_pk=account_pk,
            # PostgreSQL has no null characters.
            dapp=query.get("dapp", "").replace("\0", "")[:255],
            type=query.get("type", "").replace("\0", "")[:64],
            text=query.get("q", "").replace("\0", "").strip()[:MAX_SEARCH_LENGTH],
            since=_parse_date(query.get("from", "")),
            until=_parse_date(query.get("until", "")),
            before=parse_pk(query.get("before", "")),
            rows=min(max(parse_pk(query.get("rows", "")) or PAGE, PAGE), MAX_ROWS),
        )

    @property
    def is_narrowed(self) -> bool:
        return bool(self.account_pk or self.is_filtered)

    @property
    def is_filtered(self) -> bool:
        """Narrowed by more than the account, which the whole frame is about."""
        return bool(self.dapp or self.type or self.text or self.since or self.until)

    @property
    def has_choices(self) -> bool:
        """Whether a filter beside the text is chosen; phones hide them until asked."""
        return bool(self.dapp or self.type or self.since or self.until)

    @property
    def takes_new_rows(self) -> bool:
        """Whether the browser can decide that a new row belongs into this list. It cannot
        evaluate a text search or a date, and older pages do not start at the newest row."""
        today = timezone.localdate(clock.now())
        is_future = self.since is not None and self.since > today
        return not (self.text or self.until or is_future or self.before is not None)

    @property
    def query(self) -> str:
        """The query string of this view, without the page."""
        parts = {
            "tab": self.tab,
            "account": self.account_pk,
            "dapp": self.dapp,
            "type": self.type,
            "q": self.text,
            "from": self.since,
            "until": self.until,
        }
        return urlencode({name: value for name, value in parts.items() if value})


def _parse_date(text: str) -> date | None:
    """A day as date fields send it; None for any other text."""
    try:
        return date.fromisoformat(text) if len(text) == len("2026-01-31") else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Chip:
    """An active filter; ``query`` is the view without it."""

    label: str
    value: str
    query: str


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
    rows: list[MessageRow]
    older: int | None
    newer: int
    is_held: bool
    dapps: list[DappChoice]
    types: list[tuple[str, str]]
    chips: list[Chip]
    saved: list[SavedFilter]

    @property
    def without_account(self) -> str:
        return replace(self.filter, account_pk=None).query


def records_of(user_id: int) -> QuerySet[NotifyMessageRecord]:
    """The user's notifications with subscription and account.

    ``offered_types`` are the types in the dapp's document; they contain the type's name.
    """
    document = DappDocument.objects.filter(url=OuterRef("subscription__dapp_url"))
    return (
        NotifyMessageRecord.objects.kept()
        .filter(subscription__account__user_id=user_id)
        .select_related("subscription__account")
        .annotate(offered_types=Subquery(document.values("types")[:1]))
    )


def inbox_page(
    user_id: int,
    wanted: InboxFilter,
    position: ListPosition = ListPosition(),
) -> InboxPage:
    opened = position.opened[:MAX_OPENED]
    where = _conditions(wanted)
    limit, newer, is_held = wanted.rows, 0, False
    if wanted.before is not None:
        where &= _before(user_id, wanted.before)
    elif position.newest is not None:
        above = where & _after(user_id, position.newest)
        newer = len(_newest(user_id, wanted, above, MAX_COUNTED + 1))
        is_held = position.hold > 0 and newer > MAX_INSERTED
        limit = max(limit, min(position.hold, MAX_ROWS))
        if is_held:
            where &= _before(user_id, position.newest, included=True)
        elif position.hold:
            limit += newer
    pks = _newest(user_id, wanted, where, limit + 1)
    if opened and wanted.tab == "unread":
        read = NotifyMessageRecord.objects.in_inbox().filter(where, pk__in=opened)
        read = read.filter(subscription__in=_subscriptions(user_id, wanted))
        pks += read.values_list("pk", flat=True)
    found = rows_of(user_id, pks)
    more = len(found) > limit
    rows = found[:limit]
    dapps, types = _choices(user_id, wanted)
    return InboxPage(
        filter=wanted,
        rows=rows,
        older=rows[-1].pk if more else None,
        newer=newer,
        is_held=is_held,
        dapps=dapps,
        types=types,
        chips=_chips(wanted, dapps, types),
        saved=list(SavedFilter.objects.filter(user_id=user_id).order_by("name")),
    )


def _newest(user_id: int, wanted: InboxFilter, where: Q, limit: int) -> list[int]:
    """Primary keys of the newest rows of the tab for which ``where`` holds.

    The newest of each subscription, then the newest of those. One query ordered over all
    subscriptions would read and sort every notification of the user.
    """
    per_subscription = _subscriptions(user_id, wanted).newest_of_each(
        _in_tab(wanted.tab).filter(where), limit
    )
    # An array, not a subquery: however many subscriptions old statistics expect, the
    # rows are looked up by primary key and the table is not scanned.
    is_one_of_them = Func(
        F("pk"),
        ArraySubquery(per_subscription),
        template="%(expressions)s)",
        arg_joiner=" = ANY(",
        output_field=BooleanField(),
    )
    found = NotifyMessageRecord.objects.filter(is_one_of_them)
    return list(
        found.order_by("-published_at", "-pk").values_list("pk", flat=True)[:limit]
    )


def _in_tab(tab: str) -> NotifyMessageRecordQuerySet:
    if tab == "unread":
        return NotifyMessageRecord.objects.unread()
    if tab == "archived":
        return NotifyMessageRecord.objects.kept().filter(archived_at__isnull=False)
    if tab == "snoozed":
        return NotifyMessageRecord.objects.kept().filter(
            snoozed_until__isnull=False, archived_at=None
        )
    return NotifyMessageRecord.objects.in_inbox()


def matching(
    user_id: int, wanted: InboxFilter, *, up_to: int | None = None
) -> NotifyMessageRecordQuerySet:
    """Every row of the list on all its pages, or the row ``up_to`` and what is older."""
    where = _conditions(wanted)
    if up_to is not None:
        where &= _before(user_id, up_to, included=True)
    return _in_tab(wanted.tab).filter(
        where, subscription__in=_subscriptions(user_id, wanted)
    )


def _subscriptions(user_id: int, wanted: InboxFilter) -> SubscriptionQuerySet:
    found = Subscription.objects.of_user(user_id)
    if wanted.account_pk is not None:
        found = found.filter(account_id=wanted.account_pk)
    return found.filter(dapp_url=wanted.dapp) if wanted.dapp else found


def _conditions(wanted: InboxFilter) -> Q:
    """What the filter asks of a row, apart from its tab and its subscription."""
    where = Q()
    if wanted.type:
        where &= Q(type=wanted.type)
    if wanted.since:
        where &= Q(published_at__gte=_start_of(wanted.since))
    if wanted.until and wanted.until < date.max:
        where &= Q(published_at__lt=_start_of(wanted.until + timedelta(days=1)))
    for word in wanted.text.split():
        where &= Q(title__icontains=word) | Q(body__icontains=word)
    return where


def _start_of(day: date) -> datetime:
    """Midnight in the active time zone, within what PostgreSQL and UTC can express."""
    # A day more or less at the ends of the calendar: no notification is there.
    day = min(max(day, date(1900, 1, 1)), date(9999, 1, 1))
    return timezone.make_aware(datetime.combine(day, time()))


def _before(user_id: int, pk: int, *, included: bool = False) -> Q:
    """Rows older than ``pk``. A keyset, not an offset: new rows must not shift the page."""
    at = _published_at(user_id, pk)
    if at is None:
        return Q(pk__in=[])
    same = Q(published_at=at, pk__lte=pk) if included else Q(published_at=at, pk__lt=pk)
    # The first condition is implied; an index can begin there.
    return Q(published_at__lte=at) & (Q(published_at__lt=at) | same)


def _after(user_id: int, pk: int) -> Q:
    at = _published_at(user_id, pk)
    if at is None:
        return Q(pk__in=[])
    return Q(published_at__gte=at) & (
        Q(published_at__gt=at) | Q(published_at=at, pk__gt=pk)
    )


def _published_at(user_id: int, pk: int) -> datetime | None:
    # A deleted row still has its place in the list.
    rows = NotifyMessageRecord.objects.filter(subscription__account__user_id=user_id)
    return rows.filter(pk=pk).values_list("published_at", flat=True).first()


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


def _chips(
    wanted: InboxFilter, dapps: Iterable[DappChoice], types: Iterable[tuple[str, str]]
) -> list[Chip]:
    dapp = next((each.name for each in dapps if each.url == wanted.dapp), wanted.dapp)
    # Types are a dapp's own: the chip of the dapp removes both.
    found = [
        (gettext("Dapp"), dapp, {"dapp": "", "type": ""}),
        (gettext("Type"), dict(types).get(wanted.type, wanted.type), {"type": ""}),
        (gettext("Text"), wanted.text, {"text": ""}),
        (gettext("From"), wanted.since and format_date(wanted.since), {"since": None}),
        (gettext("Until"), wanted.until and format_date(wanted.until), {"until": None}),
    ]
    return [
        Chip(label, value, replace(wanted, **without).query)  # type: ignore[arg-type]
        for label, value, without in found
        if value
    ]


def snooze_until(name: str) -> datetime | None:
    """When ``1h``, ``evening``, ``morning`` or ``week`` is for the reader."""
    now = timezone.localtime(clock.now())
    today, day = now.date(), timedelta(days=1)
    if name == "1h":
        return now + timedelta(hours=1)
    if name == "evening":
        evening = [_local(today, 18), _local(today, 21), _local(today + day, 18)]
        return next(each for each in evening if each > now)
    if name == "morning":
        return _local(today + day, 8)
    if name == "week":
        return _local(today + day * (7 - today.weekday()), 8)
    return None


def _local(day: date, hour: int) -> datetime:
    return timezone.make_aware(datetime.combine(day, time(hour)))


def save_filter(
    user_id: int, name: str, wanted: InboxFilter, account: Account | None
) -> None:
    """Store the view under ``name``, in place of what had it. Raises ``FilterRefused``."""
    name = " ".join(name.replace("\0", "").split())
    if not name:
        raise FilterRefused(gettext("A saved filter needs a name."))
    if len(name) > MAX_NAME_LENGTH:
        raise FilterRefused(
            gettext("A name has at most %(count)s characters.")
            % {"count": MAX_NAME_LENGTH}
        )
    most = settings.LIMITS.saved_filters_per_user
    others = SavedFilter.objects.filter(user_id=user_id).exclude(name=name)
    if others.count() >= most:
        raise FilterRefused(
            gettext("You have %(count)s saved filters. Remove one first.")
            % {"count": most}
        )
    SavedFilter.objects.update_or_create(
        user_id=user_id,
        name=name,
        defaults={
            "query": wanted.query,
            "account": account,
            "created_at": clock.now(),
        },
    )


def record_of(user_id: int, pk: int) -> NotifyMessageRecord | None:
    return records_of(user_id).select_related("read_by").filter(pk=pk).first()
