"""Subscriptions: types, activity, and the timeline of their synchronization."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict, cast

from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import TruncDay
from django.utils import timezone
from django.utils.translation import gettext

from alerts.services.preferences import active_mutes
from common import clock
from dashboard.frame import MAX_COUNTED
from subscriptions.models import (
    BlockedDapp,
    DappDocument,
    Icon,
    NotifyMessageRecord,
    SubscribeAttempt,
    Subscription,
)
from subscriptions.services import unread_of_subscriptions
from syncstore.models import DeviceCursor, StoreUpdate

if TYPE_CHECKING:
    from collections.abc import Iterable
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
    # Digest of the picture; empty for the letter tile.
    icon: str

    @property
    def key(self) -> int:
        return int(self.subscription.created_at.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class TypeChoice:
    name: str
    title: str
    description: str
    enabled: bool
    # Requested and not yet confirmed by the dapp; None without a pending update.
    asked: bool | None = None
    is_new: bool = False
    # State of the switch in a form that was not saved; None without such a form.
    unsaved: bool | None = None

    @property
    def is_on(self) -> bool:
        """The current state including a pending update; forms are compared with it."""
        return self.enabled if self.asked is None else self.asked

    @property
    def shown_on(self) -> bool:
        return self.is_on if self.unsaved is None else self.unsaved

    @property
    def differs(self) -> bool:
        return self.unsaved is not None and self.unsaved != self.is_on


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of the subscription's timeline."""

    text: str
    at: datetime | None
    detail: str = ""
    # The page marks the current device.
    device_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class UnsavedTypes:
    """A form that was not saved: the chosen types, and those that were on before."""

    types: frozenset[str]
    seen: frozenset[str] | None

    @classmethod
    def of(cls, query: QueryDict) -> UnsavedTypes | None:
        if "pressed" not in query:
            return None
        seen = frozenset(query.getlist("seen")) if "from" in query else None
        return cls(frozenset(query.getlist("type")), seen)


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another device changed the types while the form was open."""

    by: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class MuteRow:
    """A mute in force; an empty ``type`` is the whole dapp."""

    type: str
    title: str
    until: datetime | None


@dataclass(frozen=True, slots=True)
class SubscriptionPage:
    row: SubscriptionRow
    types: list[TypeChoice]
    timeline: list[TimelineEntry]
    attempt: SubscribeAttempt | None
    changed_keys_at: datetime | None = None
    has_new_types: bool = False
    conflict: Conflict | None = None
    recent: list[NotifyMessageRecord] = field(default_factory=list)
    mutes: list[MuteRow] = field(default_factory=list)
    blocked: BlockedDapp | None = None

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
    """The rows of the list, in five queries for any number of subscriptions."""
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
    unread = unread_of_subscriptions(keys, most=MAX_COUNTED + 1)
    per_day = _per_day(keys)
    updates = StoreUpdate.objects.filter(
        store__account__in={row.account_id for row in rows},
        key__in=[row.topic for row in rows],
        outcome=StoreUpdate.Outcome.APPLIED,
    )
    synced = set(updates.values_list("store__account_id", "key"))
    icons = Icon.objects.digests(map(_first_icon, rows))
    return [
        SubscriptionRow(
            subscription=row,
            enabled=sum(1 for each in row.scope.values() if each.get("enabled")),
            total=len(row.scope),
            last_message_at=row.last_message_at,
            unread=unread.get(row.pk, 0),
            per_day=per_day[row.pk],
            is_synced=(row.account_id, row.topic) in synced,
            icon=icons.get(_first_icon(row), ""),
        )
        for row in rows
    ]


def _first_icon(row: Subscription) -> str:
    icons = row.metadata.get("icons") or [""]
    return str(icons[0])


def _per_day(keys: list[int]) -> dict[int, list[int]]:
    """Messages per day of the last seven days, oldest first, in the active time zone."""
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


def subscription_page(
    user_id: int, topic: str, unsaved: UnsavedTypes | None = None
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
    types = type_choices(subscription, document, unsaved)
    conflict = None
    if (
        unsaved is not None
        and unsaved.seen not in (None, subscription.effective_types)
        and any(choice.differs for choice in types)
    ):
        conflict = Conflict(changed_by(subscription), subscription.changed_at)
    recent = subscription.messages.kept().select_related("subscription__account")
    titles = {choice.name: choice.title for choice in types}
    mutes = active_mutes([subscription.account_id]).values()
    return SubscriptionPage(
        row=row,
        types=types,
        timeline=_timeline(subscription, attempt),
        attempt=attempt,
        changed_keys_at=datetime.fromisoformat(document.changed_keys["seenAt"])
        if document is not None and document.changed_keys is not None
        else None,
        has_new_types=any(choice.is_new for choice in types),
        conflict=conflict,
        recent=list(recent.order_by("-published_at", "-pk")[:5]),
        mutes=[
            MuteRow(each.type, titles.get(each.type, each.type), each.until)
            for each in sorted(mutes, key=lambda each: each.type)
            if each.dapp_url == subscription.dapp_url
        ],
        blocked=BlockedDapp.objects.filter(
            account=subscription.account_id, dapp_url=subscription.dapp_url
        ).first(),
    )


def type_choices(
    subscription: Subscription,
    document: DappDocument | None,
    unsaved: UnsavedTypes | None = None,
) -> list[TypeChoice]:
    """The subscription's types, then those that the dapp has added since."""
    offered: list[dict[str, Any]] = document.types if document else []
    titles = {each["name"]: each.get("title") or each["name"] for each in offered}
    # In the order of the dapp's document: jsonb does not preserve key order.
    places = {each["name"]: place for place, each in enumerate(offered)}
    pending = subscription.pending_update
    asked: dict[str, Any] | None = pending["scope"] if pending else None

    def choice(name: str, description: str, *, enabled: bool) -> TypeChoice:
        return TypeChoice(
            name,
            titles.get(name, name),
            description,
            enabled,
            asked=None if asked is None else bool(asked.get(name, {}).get("enabled")),
            is_new=name not in subscription.scope,
            unsaved=None if unsaved is None else name in unsaved.types,
        )

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


def _timeline(
    subscription: Subscription, attempt: SubscribeAttempt | None
) -> list[TimelineEntry]:
    timeline: list[TimelineEntry] = []
    if attempt is None:
        text = subscription.get_added_by_display()
        timeline.append(TimelineEntry(text, subscription.created_at))
    else:
        device = attempt.device
        name = device.known_as if device else gettext("a device that was removed")
        text = gettext("Subscribed on %(device)s (W1)") % {"device": name}
        started_at = attempt.created_at
        timeline.append(TimelineEntry(text, started_at, device_id=attempt.device_id))
        if attempt.settled_at:
            text = gettext("The dapp's answer was verified")
            timeline.append(TimelineEntry(text, attempt.settled_at))
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
    timeline += [
        TimelineEntry(_written_by(each), each.at, each.note, each.device_id)
        for each in written
    ]
    if written:
        cursors = (
            DeviceCursor.objects.filter(
                update_pk__gte=written[0].pk,
                store_id=written[0].store_id,
                device__revoked_at=None,
            )
            .exclude(device=written[0].device)
            .select_related("device")
        )
        timeline += [
            TimelineEntry(
                gettext("%(device)s (Wx) holds it") % {"device": cursor.device.name},
                # A device that was added later received it when it was added.
                max(written[0].at, cursor.device.created_at),
                device_id=cursor.device_id,
            )
            for cursor in cursors
        ]
    # A change that is not in Sync: not confirmed by the dapp yet, or Sync is off.
    if subscription.changed_at and (subscription.pending_update or not written):
        is_open = subscription.pending_update is not None
        text = (
            gettext("Other types asked for on %(device)s")
            if is_open
            else gettext("Types changed on %(device)s")
        )
        timeline.append(
            TimelineEntry(
                text % {"device": changed_by(subscription)},
                subscription.changed_at,
                gettext("waiting for the dapp to confirm") if is_open else "",
                subscription.changed_by_id,
            )
        )
    return sorted(timeline, key=lambda entry: entry.at or clock.now())


def _written_by(update: StoreUpdate) -> str:
    if update.device:
        device = {"device": update.device.known_as}
        return gettext("Written to Sync by %(device)s (W1)") % device
    return {
        StoreUpdate.Source.DEVICE: gettext("Written to Sync by this server, by itself"),
        StoreUpdate.Source.RELAY: gettext("Written to Sync by another wallet (W1)"),
        StoreUpdate.Source.HISTORY: gettext(
            "Written to Sync earlier, read from history"
        ),
    }[StoreUpdate.Source(update.source)]


def changed_by(subscription: Subscription) -> str:
    device = subscription.changed_by
    return device.known_as if device else gettext("another wallet")
