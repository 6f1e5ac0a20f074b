"""Subscriptions as people see them: what they allow, how busy they are, where they live."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict, cast

from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import TruncDay
from django.utils import timezone

from groundwork import clock
from subscriptions.models import (
    DappDocument,
    NotifyMessageRecord,
    SubscribeAttempt,
    Subscription,
)
from syncstore.models import DeviceCursor, StoreUpdate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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

    @property
    def shown_on(self) -> bool:
        return self.enabled if self.asked is None else self.asked


@dataclass(frozen=True, slots=True)
class Station:
    """One line of "Where it lives"."""

    text: str
    at: datetime | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SubscriptionPage:
    row: SubscriptionRow
    types: list[TypeChoice]
    stations: list[Station]
    attempt: SubscribeAttempt | None
    changed_keys_at: datetime | None = None
    has_new_types: bool = False
    recent: list[NotifyMessageRecord] = field(default_factory=list)

    @property
    def subscription(self) -> Subscription:
        return self.row.subscription

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
    dated = found.select_related("account", "device").annotate(
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


def subscription_page(user_id: int, topic: str) -> SubscriptionPage | None:
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
    types = type_choices(subscription, document)
    recent = subscription.messages.select_related("subscription__account")
    return SubscriptionPage(
        row=row,
        types=types,
        stations=_stations(subscription, attempt),
        attempt=attempt,
        changed_keys_at=_changed_keys_at(document),
        has_new_types=any(choice.is_new for choice in types),
        recent=list(recent.order_by("-published_at", "-pk")[:5]),
    )


def _changed_keys_at(document: DappDocument | None) -> datetime | None:
    """When the dapp was first seen with other keys than those that were pinned."""
    if document is None or document.changed_keys is None:
        return None
    return datetime.fromisoformat(document.changed_keys["seenAt"])


def type_choices(
    subscription: Subscription, document: DappDocument | None
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
        return TypeChoice(name, title, description, enabled, wish, is_new)

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
        stations.append(Station(words, update.at, update.note))
    if written:
        stations += _devices_that_have(written[0])
    return sorted(stations, key=lambda station: station.at or clock.now())


def _written_by(update: StoreUpdate) -> str:
    if update.device:
        return f"by {update.device.name}"
    return {
        StoreUpdate.Source.DEVICE: "on this server",
        StoreUpdate.Source.RELAY: "by another wallet",
        StoreUpdate.Source.HISTORY: "earlier, read from history",
    }[StoreUpdate.Source(update.source)]


def _beginning(
    subscription: Subscription, attempt: SubscribeAttempt | None
) -> list[Station]:
    if attempt is None:
        return [Station(subscription.get_added_by_display(), subscription.created_at)]
    name = attempt.device.name if attempt.device else "a device that is gone"
    stations = [Station(f"Subscribed on {name} (W1)", attempt.created_at)]
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
        )
        for cursor in cursors
    ]
