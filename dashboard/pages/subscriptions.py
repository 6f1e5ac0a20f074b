"""Subscriptions as people see them: what they allow, how busy they are, where they live."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict, cast

from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import TruncDay
from django.utils import timezone

from common import clock
from subscriptions.models import (
    DappDocument,
    NotifyMessageRecord,
    SubscribeAttempt,
    Subscription,
)
from syncstore.models import DeviceCursor, StoreUpdate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from django.http import QueryDict
    from django_stubs_ext import WithAnnotations

    class LastMessage(TypedDict):
        last_message_at: datetime | None

    DatedSubscription = WithAnnotations[Subscription, LastMessage]

DAYS = 7


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    subscription: Subscription
    enabled: int
    total: int
    last_message_at: datetime | None
    unread: int
    per_day: list[int]
    is_synced: bool

    @property
    def key(self) -> int:
        return int(self.subscription.created_at.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class TypeChoice:
    name: str
    title: str
    description: str
    enabled: bool
    # What was asked for and is not confirmed by the dapp yet; None: nothing.
    asked: bool | None = None
    is_new: bool = False
    # What was pressed in a form that was not carried out; None: there is no such form.
    pressed: bool | None = None

    @property
    def is_on(self) -> bool:
        """As it stands, confirmed or not: what a form is measured against."""
        return self.enabled if self.asked is None else self.asked

    @property
    def shown_on(self) -> bool:
        return self.is_on if self.pressed is None else self.pressed

    @property
    def differs(self) -> bool:
        return self.pressed is not None and self.pressed != self.is_on


@dataclass(frozen=True, slots=True)
class Station:
    """One line of "Where it lives"."""

    text: str
    at: datetime | None
    detail: str = ""
    # Which device; the page marks the one that it is shown on.
    device_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Pressed:
    """A form that was not carried out: what was pressed, and what its person saw."""

    types: frozenset[str]
    seen: frozenset[str] | None

    @classmethod
    def of(cls, query: QueryDict) -> Pressed | None:
        if "pressed" not in query:
            return None
        seen = frozenset(query.getlist("seen")) if "from" in query else None
        return cls(frozenset(query.getlist("type")), seen)


@dataclass(frozen=True, slots=True)
class Conflict:
    """The types were changed elsewhere while a person was choosing here."""

    by: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class SubscriptionPage:
    row: SubscriptionRow
    types: list[TypeChoice]
    stations: list[Station]
    attempt: SubscribeAttempt | None
    changed_keys_at: datetime | None = None
    has_new_types: bool = False
    conflict: Conflict | None = None
    recent: list[NotifyMessageRecord] = field(default_factory=list)

    @property
    def subscription(self) -> Subscription:
        return self.row.subscription

    @property
    def changed_by(self) -> str:
        return changed_by(self.subscription)

    @property
    def expires_at(self) -> int:
        return self.subscription.expiry * 1000


def subscription_rows(
    user_id: int, *, account_pk: int | None = None, only: Iterable[int] | None = None
) -> list[SubscriptionRow]:
    """Four queries, however many subscriptions."""
    found = Subscription.objects.of_user(user_id).active()
    if account_pk is not None:
        found = found.filter(account_id=account_pk)
    if only is not None:
        found = found.filter(pk__in=list(only))
    newest = NotifyMessageRecord.objects.filter(subscription=OuterRef("pk"))
    latest = newest.order_by("-published_at", "-pk").values("published_at")[:1]
    dated = found.select_related("account", "device", "changed_by").annotate(
        last_message_at=Subquery(latest)
    )
    rows = cast("list[DatedSubscription]", list(dated.order_by("-created_at", "-pk")))
    keys = [row.pk for row in rows]
    unread = _unread(keys)
    per_day = _per_day(keys)
    synced = _synced(rows)
    return [
        SubscriptionRow(
            subscription=row,
            enabled=sum(1 for each in row.scope.values() if each.get("enabled")),
            total=len(row.scope),
            last_message_at=row.last_message_at,
            unread=unread.get(row.pk, 0),
            per_day=per_day[row.pk],
            is_synced=(row.account_id, row.topic) in synced,
        )
        for row in rows
    ]


def _unread(keys: list[int]) -> dict[int, int]:
    rows = NotifyMessageRecord.objects.filter(
        subscription__in=keys, read_at=None, archived_at=None
    )
    counted = rows.values("subscription").annotate(number=Count("pk"))
    return dict(counted.values_list("subscription", "number"))


def _per_day(keys: list[int]) -> dict[int, list[int]]:
    """Messages of the last seven days, oldest first, in the reader's time zone."""
    today = timezone.localtime(clock.now()).date()
    first = today - timedelta(days=DAYS - 1)
    since = timezone.localtime(clock.now()).replace(
        hour=0, minute=0, second=0, microsecond=0
    ) - timedelta(days=DAYS - 1)
    rows = NotifyMessageRecord.objects.filter(
        subscription__in=keys, published_at__gte=since
    )
    counted = (
        rows.annotate(day=TruncDay("published_at"))
        .values("subscription", "day")
        .annotate(number=Count("pk"))
    )
    found: dict[int, list[int]] = defaultdict(lambda: [0] * DAYS)
    for row in counted:
        place = (row["day"].date() - first).days
        if 0 <= place < DAYS:
            found[row["subscription"]][place] = row["number"]
    return found


def _synced(rows: Sequence[Subscription]) -> set[tuple[int, str]]:
    """Which of them stand in the account's shared store."""
    updates = StoreUpdate.objects.filter(
        store__account__in={row.account_id for row in rows},
        key__in=[row.topic for row in rows],
        outcome=StoreUpdate.Outcome.APPLIED,
    )
    return set(updates.values_list("store__account_id", "key"))


def subscription_page(
    user_id: int, topic: str, pressed: Pressed | None = None
) -> SubscriptionPage | None:
    owned = Subscription.objects.of_user(user_id).active().filter(topic=topic)
    found = owned.values_list("pk", flat=True).first()
    if found is None:
        return None
    row = subscription_rows(user_id, only=[found])[0]
    subscription = row.subscription
    attempt = (
        subscription.attempts.select_related("device").order_by("-created_at").first()
    )
    document = DappDocument.objects.filter(url=subscription.dapp_url).first()
    types = type_choices(subscription, document, pressed)
    recent = subscription.messages.select_related("subscription__account")
    return SubscriptionPage(
        row=row,
        types=types,
        stations=_stations(subscription, attempt),
        attempt=attempt,
        changed_keys_at=_changed_keys_at(document),
        has_new_types=any(choice.is_new for choice in types),
        conflict=_conflict(subscription, pressed, types),
        recent=list(recent.order_by("-published_at", "-pk")[:5]),
    )


def _conflict(
    subscription: Subscription, pressed: Pressed | None, types: list[TypeChoice]
) -> Conflict | None:
    if pressed is None or pressed.seen is None:
        return None
    if pressed.seen == subscription.effective_types:
        return None
    if not any(choice.differs for choice in types):
        return None
    return Conflict(changed_by(subscription), subscription.changed_at)


def _changed_keys_at(document: DappDocument | None) -> datetime | None:
    """When the dapp was first seen with other keys than those that were pinned."""
    if document is None or document.changed_keys is None:
        return None
    return datetime.fromisoformat(document.changed_keys["seenAt"])


def type_choices(
    subscription: Subscription,
    document: DappDocument | None,
    pressed: Pressed | None = None,
) -> list[TypeChoice]:
    """The types of the subscription, then those the dapp offers since."""
    offered: list[dict[str, Any]] = document.types if document else []
    titles = {each["name"]: each.get("title") or each["name"] for each in offered}
    # The dapp's own order; the database keeps an object's members in another.
    places = {each["name"]: place for place, each in enumerate(offered)}
    pending = subscription.pending_update
    asked: dict[str, Any] | None = pending["scope"] if pending else None

    def choice(name: str, description: str, *, enabled: bool) -> TypeChoice:
        wish = None if asked is None else bool(asked.get(name, {}).get("enabled"))
        is_new = name not in subscription.scope
        title = titles.get(name, name)
        was_pressed = None if pressed is None else name in pressed.types
        return TypeChoice(name, title, description, enabled, wish, is_new, was_pressed)

    present = [
        choice(
            name,
            str(setting.get("description", "")),
            enabled=bool(setting.get("enabled")),
        )
        for name, setting in sorted(
            subscription.scope.items(),
            key=lambda item: places.get(item[0], len(places)),
        )
    ]
    added = [
        choice(each["name"], str(each.get("description", "")), enabled=False)
        for each in offered
        if each["name"] not in subscription.scope
    ]
    return present + added


def _stations(
    subscription: Subscription, attempt: SubscribeAttempt | None
) -> list[Station]:
    stations = _beginning(subscription, attempt)
    updates = (
        StoreUpdate.objects.filter(
            store__account_id=subscription.account_id,
            key=subscription.topic,
            outcome=StoreUpdate.Outcome.APPLIED,
        )
        .select_related("device")
        .order_by("pk")
    )
    written = list(updates[:20])
    for update in written:
        words = f"Written to Sync {_written_by(update)}"
        stations.append(Station(words, update.at, update.note, update.device_id))
    if written:
        stations += _devices_that_have(written[0])
    if subscription.changed_at and (subscription.pending_update or not written):
        stations.append(_last_change(subscription, subscription.changed_at))
    return sorted(stations, key=lambda station: station.at or clock.now())


def _written_by(update: StoreUpdate) -> str:
    if update.device:
        return f"by {update.device.known_as} (W1)"
    return {
        StoreUpdate.Source.DEVICE: "by this server, by itself",
        StoreUpdate.Source.RELAY: "by another wallet (W1)",
        StoreUpdate.Source.HISTORY: "earlier, read from history",
    }[StoreUpdate.Source(update.source)]


def _last_change(subscription: Subscription, at: datetime) -> Station:
    """A change that is not written to Sync: not answered yet, or there is no Sync."""
    who = changed_by(subscription)
    is_open = subscription.pending_update is not None
    words = f"Other types asked for on {who}" if is_open else f"Types changed on {who}"
    detail = "waiting for the dapp to confirm" if is_open else ""
    return Station(words, at, detail, subscription.changed_by_id)


def changed_by(subscription: Subscription) -> str:
    device = subscription.changed_by
    return device.known_as if device else "another wallet"


def _beginning(
    subscription: Subscription, attempt: SubscribeAttempt | None
) -> list[Station]:
    if attempt is None:
        return [Station(subscription.get_added_by_display(), subscription.created_at)]
    name = attempt.device.known_as if attempt.device else "a device that is gone"
    words = f"Subscribed on {name} (W1)"
    stations = [Station(words, attempt.created_at, device_id=attempt.device_id)]
    if attempt.settled_at:
        stations.append(Station("The dapp's answer was verified", attempt.settled_at))
    return stations


def _devices_that_have(update: StoreUpdate) -> list[Station]:
    """The other devices whose cursor is past the update: they hold it."""
    cursors = (
        DeviceCursor.objects.filter(
            update_pk__gte=update.pk,
            store_id=update.store_id,
            device__revoked_at=None,
        )
        .exclude(device=update.device)
        .select_related("device")
    )
    return [
        Station(
            f"{cursor.device.name} (Wx) holds it",
            max(update.at, cursor.device.created_at),
            device_id=cursor.device_id,
        )
        for cursor in cursors
    ]
