"""The sync log: all updates of the shared stores with their outcome and its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Count, Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from dashboard.keys import parse_pk
from subscriptions.models import Subscription
from syncstore.models import ColdStart, DeviceCursor, Store, StoreUpdate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet
    from django.http import QueryDict
    from django_stubs_ext import StrPromise

    from accounts.models import Device

PAGE = 50
NOTIFY_STORE: Final = "com.walletconnect.notify.notifySubscription"

# Label, icon, tone.
OUTCOMES: Final = {
    "applied": (_("applied"), "circle-check", "ok"),
    "stale": (_("older, ignored"), "history", "warn"),
    "duplicate": (_("duplicate"), "copy-check", ""),
    "refused": (_("refused"), "circle-x", "danger"),
}


@dataclass(frozen=True, slots=True)
class StoreCard:
    store: Store
    entries: int
    tombstones: int
    updates: int
    devices: list[DeviceCursor]
    cold_start: ColdStart | None

    @property
    def name(self) -> str:
        is_notify = self.store.name == NOTIFY_STORE
        return gettext("Notify subscriptions") if is_notify else self.store.name


@dataclass(frozen=True, slots=True)
class UpdateRow:
    update: StoreUpdate
    item: str
    label: StrPromise
    icon: str
    tone: str
    # Devices that have applied it, without the one that made it.
    holders: tuple[Device, ...] = ()

    @property
    def rule(self) -> str:
        """The reason of the outcome, with the two JSON-RPC ids that decided it."""
        old = self.update.previous_id
        ids = {"new": self.update.rpc_id, "old": old}
        if self.update.outcome == "refused":
            return self.update.reason
        if old is None:
            return gettext("%(new)d is the first update of this key.") % ids
        if self.update.outcome == "applied":
            return gettext("%(new)d > %(old)d, so this update wins.") % ids
        if self.update.outcome == "duplicate":
            return gettext("%(new)d was received before.") % ids
        return gettext("%(new)d is not above %(old)d, so the newer one stays.") % ids

    @property
    def latency_ms(self) -> float | None:
        """From the publication on the relay to the outcome here."""
        if self.update.published_at is None or self.update.source != "relay":
            return None
        return max(0.0, self.update.at.timestamp() * 1000 - self.update.published_at)

    @property
    def who(self) -> str:
        if self.update.device:
            return self.update.device.known_as
        return {
            "relay": gettext("another wallet"),
            "history": gettext("history"),
            "device": gettext("this server, by itself"),
        }[self.update.source]

    @property
    def is_made_by_a_client(self) -> bool:
        """Whether there is a W1; renewals and updates replayed from History have none."""
        return self.update.device is not None or self.update.source == "relay"


@dataclass(frozen=True, slots=True)
class SyncFilter:
    account_pk: int | None
    outcome: str = ""
    before: int | None = None

    @classmethod
    def of(cls, query: QueryDict, account_pk: int | None) -> SyncFilter:
        outcome = query.get("outcome", "")
        return cls(
            account_pk=account_pk,
            outcome=outcome if outcome in OUTCOMES else "",
            before=parse_pk(query.get("before", "")),
        )


@dataclass(frozen=True, slots=True)
class SyncPage:
    filter: SyncFilter
    stores: list[StoreCard]
    rows: list[UpdateRow]
    older: int | None


def updates_of(user_id: int) -> QuerySet[StoreUpdate]:
    found = StoreUpdate.objects.filter(store__account__user_id=user_id)
    return found.select_related("device", "store__account")


def sync_page(user_id: int, wanted: SyncFilter) -> SyncPage:
    found = updates_of(user_id)
    if wanted.account_pk is not None:
        found = found.filter(store__account_id=wanted.account_pk)
    if wanted.outcome:
        found = found.filter(outcome=wanted.outcome)
    if wanted.before is not None:
        found = found.filter(pk__lt=wanted.before)
    updates = list(found.order_by("-pk")[: PAGE + 1])
    more, updates = len(updates) > PAGE, updates[:PAGE]
    return SyncPage(
        filter=wanted,
        stores=store_cards(user_id, wanted.account_pk),
        rows=update_rows(updates),
        older=updates[-1].pk if more else None,
    )


def store_cards(user_id: int, account_pk: int | None) -> list[StoreCard]:
    found = Store.objects.filter(account__user_id=user_id)
    if account_pk is not None:
        found = found.filter(account_id=account_pk)
    stores = list(
        found.select_related("account")
        .annotate(
            live=Count("entries", filter=Q(entries__is_deleted=False)),
            dead=Count("entries", filter=Q(entries__is_deleted=True)),
        )
        .order_by("pk")
    )
    numbers = dict(
        StoreUpdate.objects.filter(store__in=stores)
        .values_list("store")
        .annotate(number=Count("pk"))
    )
    cursors = _cursors({store.pk for store in stores})
    starts = {
        start.account_id: start
        for start in ColdStart.objects.filter(
            account__in=[store.account_id for store in stores]
        )
    }
    return [
        StoreCard(
            store=store,
            entries=store.live,
            tombstones=store.dead,
            updates=numbers.get(store.pk, 0),
            devices=cursors.get(store.pk, []),
            cold_start=starts.get(store.account_id),
        )
        for store in stores
    ]


def update_rows(updates: Iterable[StoreUpdate]) -> list[UpdateRow]:
    updates = list(updates)
    names = {
        (account, topic): metadata.get("name") or url
        for account, topic, metadata, url in Subscription.objects.filter(
            account__in={update.store.account_id for update in updates},
            topic__in={update.key for update in updates},
        ).values_list("account", "topic", "metadata", "dapp_url")
    }
    cursors = _cursors({update.store_id for update in updates})
    return [
        UpdateRow(
            update,
            _item(update, names.get((update.store.account_id, update.key))),
            *OUTCOMES[update.outcome],
            holders=_holders(update, cursors.get(update.store_id, [])),
        )
        for update in updates
    ]


def _cursors(stores: set[int]) -> dict[int, list[DeviceCursor]]:
    found: dict[int, list[DeviceCursor]] = {}
    present = DeviceCursor.objects.filter(store__in=stores, device__revoked_at=None)
    for cursor in present.select_related("device").order_by("device__created_at"):
        found.setdefault(cursor.store_id, []).append(cursor)
    return found


def _holders(
    update: StoreUpdate, cursors: Iterable[DeviceCursor]
) -> tuple[Device, ...]:
    """The Wx of an update: active devices that have applied it."""
    if update.outcome != StoreUpdate.Outcome.APPLIED:
        return ()
    return tuple(
        cursor.device
        for cursor in cursors
        if cursor.update_pk >= update.pk and cursor.device_id != update.device_id
    )


def _item(update: StoreUpdate, name: str | None) -> str:
    """A description: the note of the store's owner, otherwise the dapp and the action."""
    if update.note:
        return update.note
    what = name or f"{update.key[:8]}…{update.key[-6:]}"
    is_deletion = update.action == "delete"
    text = gettext("%(item)s: removed") if is_deletion else gettext("%(item)s: saved")
    return text % {"item": what}


def exported(user_id: int) -> list[dict[str, Any]]:
    """The complete log, oldest first. Keys are topics; it contains no secrets."""
    return [
        {
            "account": update.store.account.address,
            "store": update.store.name,
            "key": update.key,
            "action": update.action,
            "rpcId": update.rpc_id,
            "previousId": update.previous_id,
            "outcome": update.outcome,
            "source": update.source,
            "device": update.device.known_as if update.device else None,
            "bytes": update.size,
            "publishedAt": update.published_at,
            "at": update.at.isoformat(),
            "reason": update.reason,
            "note": update.note,
        }
        for update in updates_of(user_id).order_by("pk").iterator()
    ]
