"""The sync log: all updates of the shared stores with their outcome and its reason.

Also the last comparison of the stores with the archive, and the export of the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db.models import Count, Q
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import Account, Device
from dashboard.keys import is_uuid, parse_pk
from dashboard.reasons import translate_reason
from messaging.models import OutboxMessage
from subscriptions.models import Subscription
from syncstore.models import ColdStart, DeviceCursor, Store, StoreCheck, StoreUpdate
from syncstore.names import PREFERENCES_STORE, STORE_NAMES
from syncstore.services import verify
from walletconnect.json_values import dump_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from django.db.models import QuerySet
    from django.http import QueryDict
    from django_stubs_ext import StrPromise


PAGE = 50
MAX_TEXT_LENGTH: Final = 200
MAX_EXPORT_PAGE: Final = 500
NOTIFY_STORE: Final = "com.walletconnect.notify.notifySubscription"

# Label, icon, tone.
OUTCOMES: Final = {
    "applied": (_("applied"), "circle-check", "ok"),
    "stale": (_("older, ignored"), "history", "warn"),
    "duplicate": (_("duplicate"), "copy-check", ""),
    "refused": (_("refused"), "circle-x", "danger"),
}


DIFFERENCES: Final = {
    verify.MISSING_HERE: _("missing here"),
    verify.OLDER_HERE: _("older here"),
    verify.NOT_ARCHIVED: _("not in the archive"),
    verify.VALUE_DIFFERS: _("the value differs"),
    verify.UNREADABLE: _("not readable here"),
}
# Source and label of updates that no device of this server made.
WHO: Final = {
    "elsewhere": ("relay", _("another wallet or server")),
    "history": ("history", _("History")),
    "server": ("device", _("this server, by itself")),
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
        return store_title(self.store.name)


@dataclass(frozen=True, slots=True)
class UpdateRow:
    update: StoreUpdate
    item: str
    label: StrPromise
    icon: str
    tone: str
    # Devices that have applied it, without the one that made it.
    holders: tuple[Device, ...] = ()
    # When the relay had accepted a local write.
    sent_at: datetime | None = None

    @property
    def rule(self) -> str:
        """The reason of the outcome, with the two JSON-RPC ids that decided it."""
        old = self.update.previous_id
        ids = {"new": self.update.rpc_id, "old": old}
        if self.update.outcome == "refused":
            return translate_reason(self.update.reason)
        if old is None:
            return gettext("%(new)d is the first update of this key.") % ids
        if self.update.outcome == "applied":
            return gettext("%(new)d > %(old)d, so this update wins.") % ids
        if self.update.outcome == "duplicate":
            return gettext("%(new)d was received before.") % ids
        return gettext("%(new)d is not above %(old)d, so the newer one stays.") % ids

    @property
    def latency_ms(self) -> float | None:
        """Of a foreign write, from its publication on the relay to the outcome here; of an
        own one, from the outcome here to its acceptance by the relay."""
        at = self.update.at.timestamp() * 1000
        if self.sent_at is not None:
            return max(0.0, self.sent_at.timestamp() * 1000 - at)
        if self.update.published_at is None or self.update.source != "relay":
            return None
        return max(0.0, at - self.update.published_at)

    @property
    def is_waiting(self) -> bool:
        """Whether a local write has not reached the relay yet."""
        return self.update.outbox_id is not None and self.sent_at is None

    @property
    def store_title(self) -> str:
        return store_title(self.update.store.name)

    @property
    def who(self) -> str:
        if self.update.device:
            return self.update.device.known_as
        if self.update.author and self.update.source != "device":
            return self.update.author
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
    store: str = ""
    # "elsewhere", "history", "server", or the primary key of a device.
    who: str = ""
    text: str = ""
    before: int | None = None
    # The newest update shown while the page is paused.
    until: int | None = None

    @classmethod
    def of(cls, query: QueryDict, account_pk: int | None) -> SyncFilter:
        outcome, who = query.get("outcome", ""), query.get("who", "")
        store = query.get("store", "")
        return cls(
            account_pk=account_pk,
            outcome=outcome if outcome in OUTCOMES else "",
            store=store if store in STORE_NAMES else "",
            who=who if who in WHO or is_uuid(who) else "",
            text=query.get("q", "").replace("\x00", "").strip()[:MAX_TEXT_LENGTH],
            before=parse_pk(query.get("before", "")),
            until=parse_pk(query.get("until", "")),
        )

    @property
    def is_empty(self) -> bool:
        return not (self.outcome or self.store or self.who or self.text)

    def apply(self, found: QuerySet[StoreUpdate]) -> QuerySet[StoreUpdate]:
        if self.account_pk is not None:
            found = found.filter(store__account_id=self.account_pk)
        if self.outcome:
            found = found.filter(outcome=self.outcome)
        if self.store:
            found = found.filter(store__name=self.store)
        if self.who in WHO:
            found = found.filter(source=WHO[self.who][0], device=None)
        elif self.who:
            found = found.filter(device=UUID(self.who))
        if self.text:
            matching = Q()
            for column in ("note", "key", "author", "reason", "device__name"):
                matching |= Q(**{f"{column}__icontains": self.text})
            if (number := parse_pk(self.text)) is not None:
                matching |= Q(rpc_id=number) | Q(previous_id=number)
            matching |= Q(key__in=self._topics(found))
            found = found.filter(matching)
        return found

    def _topics(self, found: QuerySet[StoreUpdate]) -> QuerySet[Subscription, str]:
        """Topics of the dapps whose name or address matches; the log has only topics."""
        return (
            Subscription.objects.filter(account__in=found.values("store__account"))
            .filter(
                Q(dapp_url__icontains=self.text)
                | Q(metadata__name__icontains=self.text)
            )
            .values_list("topic", flat=True)
        )


@dataclass(frozen=True, slots=True)
class SyncPage:
    filter: SyncFilter
    stores: list[StoreCard]
    rows: list[UpdateRow]
    older: int | None
    newest: int
    # Updates that a paused page does not show.
    newer: int
    devices: list[Device]
    checks: list[StoreCheck]
    # Accounts whose preferences are not shared yet.
    without_preferences: list[Account]


def updates_of(user_id: int) -> QuerySet[StoreUpdate]:
    found = StoreUpdate.objects.filter(store__account__user_id=user_id)
    return found.select_related("device", "store__account")


def sync_page(user_id: int, wanted: SyncFilter) -> SyncPage:
    matching = wanted.apply(updates_of(user_id))
    found, newer = matching, 0
    if wanted.until is not None:
        found = matching.filter(pk__lte=wanted.until)
        newer = matching.filter(pk__gt=wanted.until).count()
    if wanted.before is not None:
        found = found.filter(pk__lt=wanted.before)
    updates = list(found.order_by("-pk")[: PAGE + 1])
    more, updates = len(updates) > PAGE, updates[:PAGE]
    return SyncPage(
        filter=wanted,
        stores=store_cards(user_id, wanted.account_pk),
        rows=update_rows(updates),
        older=updates[-1].pk if more else None,
        newest=updates[0].pk if updates else 0,
        newer=newer,
        devices=list(Device.objects.active().filter(user_id=user_id).order_by("name")),
        checks=list(
            StoreCheck.objects.filter(account__user_id=user_id)
            .select_related("account")
            .order_by("pk")
        ),
        without_preferences=list(
            Account.objects.of_user(user_id)
            .filter(stores__name=NOTIFY_STORE)
            .exclude(
                pk__in=Store.objects.filter(name=PREFERENCES_STORE).values("account")
            )
        ),
    )


def store_title(name: str) -> str:
    return {
        NOTIFY_STORE: gettext("Notify subscriptions"),
        PREFERENCES_STORE: gettext("Mutes and blocks"),
    }.get(name, name)


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
    # Keys of the preferences store are addresses of dapps.
    names |= {
        (account, url): metadata.get("name") or url
        for account, url, metadata in Subscription.objects.filter(
            account__in={update.store.account_id for update in updates},
            dapp_url__in={update.key for update in updates},
        ).values_list("account", "dapp_url", "metadata")
    }
    cursors = _cursors({update.store_id for update in updates})
    sent = dict(
        OutboxMessage.objects.filter(
            pk__in=[update.outbox_id for update in updates if update.outbox_id]
        ).values_list("pk", "sent_at")
    )
    return [
        UpdateRow(
            update,
            _item(update, names.get((update.store.account_id, update.key))),
            *OUTCOMES[update.outcome],
            holders=_holders(update, cursors.get(update.store_id, [])),
            sent_at=sent.get(update.outbox_id) if update.outbox_id else None,
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


def exported(user_id: int, wanted: SyncFilter) -> Iterator[bytes]:
    """The filtered log as JSON Lines, oldest first; it contains no secrets."""
    found = wanted.apply(updates_of(user_id)).order_by("pk")
    after = 0
    while page := list(found.filter(pk__gt=after)[:MAX_EXPORT_PAGE]):
        after = page[-1].pk
        yield "".join(
            f"{dump_json(_line(row))}\n" for row in update_rows(page)
        ).encode()


def _line(row: UpdateRow) -> dict[str, Any]:
    update = row.update
    return {
        "account": update.store.account.address,
        "store": update.store.name,
        "key": update.key,
        "action": update.action,
        # Texts: JavaScript's numbers do not hold all of them.
        "rpcId": str(update.rpc_id),
        "previousId": None if update.previous_id is None else str(update.previous_id),
        "outcome": update.outcome,
        "rule": row.rule,
        "source": update.source,
        "author": row.who,
        "device": update.device.known_as if update.device else None,
        "bytes": update.size,
        "publishedAt": update.published_at,
        "at": update.at.isoformat(),
        "latencyMs": None if row.latency_ms is None else round(row.latency_ms),
        "changes": update.changes,
        "reason": update.reason,
        "note": update.note,
    }
