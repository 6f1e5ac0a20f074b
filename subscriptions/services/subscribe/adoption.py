"""What other wallets of the account have subscribed to, changed and left: steps 19, 20.

Spec: the seed; ``adopt_subscription`` in ``walletconnect.notify.subscribe``. The shared
store is believed like a stranger: any device of the account, or a thief of its store key,
can write anything into it. An entry that is not sound stays in the store, since all
devices hold the same, but nothing comes of it, and the sync log says why.

``syncstore`` holds the lock on the store while these functions run, and records events.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from django.conf import settings

from accounts.services import EventDraft, EventKind, audit
from common import clock
from common.wake import enqueue_on_commit
from messaging import outbox
from messaging.models import Party
from subscriptions.models import (
    MIRRORED_FIELDS,
    SubscribeAttempt,
    Subscription,
    SubscriptionJob,
)
from subscriptions.services.dapps.documents import (
    authentication_dids,
    normalize_dapp_url,
)
from subscriptions.services.deletes import BY_WALLET, end_subscriptions
from subscriptions.services.errors import DappUnusable
from subscriptions.services.messages.messages import LEARN_TASK
from subscriptions.services.subscribe.attempts import State, move
from subscriptions.services.wallet import (
    attempt_event,
    in_words,
    keep_notify_keys,
    notify_keys,
    store_entries,
    subscription_event,
)
from syncstore.models import StoreUpdate
from syncstore.registry import AppliedUpdate, Consequences
from syncstore.services import known_keys, store_set
from walletconnect.crypto.keys import Topic
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId
from walletconnect.notify.subscribe import adopt_subscription
from walletconnect.sync.store import StoreSet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from syncstore.models import Store
    from walletconnect.notify.values import NotifySubscription

REPLAY_TASK: Final = "subscriptions.replay_history"
_REVIVED: Final = [
    *MIRRORED_FIELDS,
    "dapp_authentication_did",
    "added_by",
    "device",
    "deleted_at",
    "delete_reason",
]


@dataclass(slots=True)
class _Batch:
    """What a batch of store updates comes to."""

    known: dict[str, Subscription]
    room: int
    notes: dict[str, str] = field(default_factory=dict)
    values: list[NotifySubscription] = field(default_factory=list)
    new: list[Subscription] = field(default_factory=list)
    revived: list[Subscription] = field(default_factory=list)
    changed: list[Subscription] = field(default_factory=list)
    ended: list[Subscription] = field(default_factory=list)

    @property
    def joined(self) -> list[Subscription]:
        return [*self.new, *self.revived]


def adopt(store: Store, applied: list[AppliedUpdate]) -> Consequences:
    """Mirror what now stands in the store; in the transaction of the apply."""
    batch = _Batch(_known(store, applied), _room(store))
    for update in applied:
        if update.value is None:
            _end(batch, update)
        else:
            _take(batch, store, update, value=update.value)
    return Consequences(batch.notes, _write(batch, store))


def _known(store: Store, applied: Sequence[AppliedUpdate]) -> dict[str, Subscription]:
    rows = (
        Subscription.objects.select_for_update(of=("self",))
        .select_related("account")
        .filter(
            account_id=store.account_id, topic__in=[update.key for update in applied]
        )
        .order_by("pk")
    )
    return {row.topic: row for row in rows}


def _room(store: Store) -> int:
    """How many more subscriptions the account may have."""
    active = Subscription.objects.active().filter(account_id=store.account_id)
    return settings.LIMITS.subscriptions_per_account - active.count()


def _end(batch: _Batch, update: AppliedUpdate) -> None:
    row = batch.known.get(update.key)
    if row is None or row.deleted_at is not None:
        batch.notes[update.key] = "unsubscribed; it was not here"
        return
    batch.notes[update.key] = f"{row}: unsubscribed"
    batch.ended.append(row)


def _take(batch: _Batch, store: Store, update: AppliedUpdate, *, value: str) -> None:
    try:
        adoption = adopt_subscription(
            StoreSet(update.key, value, update.rpc_id),
            AccountId.parse(store.account.address),
            now=clock.now_s(),
        )
    except RemoteProtocolError as error:
        batch.notes[update.key] = f"not adopted: {error}"
        return
    subscription = adoption.subscription
    try:
        normalize_dapp_url(subscription.metadata.url)
    except DappUnusable as error:
        # Its documents are never read, so no notification could be verified; and it
        # must not wait among those whose documents can be.
        batch.notes[update.key] = f"not adopted: {error}"
        return
    row = batch.known.get(update.key)
    joins = row is None or row.deleted_at is not None
    if joins and batch.room <= 0:
        batch.notes[update.key] = "not adopted: the account has too many subscriptions"
        return
    batch.notes[update.key] = in_words(subscription)
    if row is None:
        batch.new.append(_new(store, subscription, update))
    elif row.deleted_at is not None:
        batch.revived.append(_revived(row, subscription, update))
    else:
        _changed(batch, row, subscription)
        return
    batch.room -= 1
    batch.values.append(subscription)


def _new(
    store: Store, value: NotifySubscription, update: AppliedUpdate
) -> Subscription:
    row = Subscription(account=store.account, created_at=clock.now())
    return _revived(row, value, update)


def _revived(
    row: Subscription, value: NotifySubscription, update: AppliedUpdate
) -> Subscription:
    row.take(value)
    row.added_by = (
        Subscription.AddedBy.HISTORY
        if update.source == StoreUpdate.Source.HISTORY
        else Subscription.AddedBy.SYNC
    )
    row.device = None
    row.dapp_authentication_did = ""
    row.deleted_at = None
    row.delete_reason = ""
    return row


def _changed(batch: _Batch, row: Subscription, value: NotifySubscription) -> None:
    before = [getattr(row, name) for name in MIRRORED_FIELDS]
    url, types = row.dapp_url, row.effective_types
    row.take(value)
    if row.effective_types != types:
        row.note_change(None, clock.now())
    if row.dapp_url != url:
        # Another dapp under the same key: what we knew of the first does not hold.
        row.dapp_authentication_did = ""
    if before != [getattr(row, name) for name in MIRRORED_FIELDS]:
        batch.changed.append(row)


# --- writing ----------------------------------------------------------------------------


def _write(batch: _Batch, store: Store) -> list[EventDraft]:
    _know_dapps([*batch.joined, *batch.changed])
    Subscription.objects.bulk_create(batch.new)
    Subscription.objects.bulk_update(batch.revived, _REVIVED)
    Subscription.objects.bulk_update(
        batch.changed,
        [*MIRRORED_FIELDS, "dapp_authentication_did", "changed_by", "changed_at"],
    )
    keep_notify_keys(batch.values, account_id=store.account_id)
    outbox.subscribe(Party.WALLET, [row.topic for row in batch.joined])
    if batch.joined:
        SubscriptionJob.objects.schedule(SubscriptionJob.Kind.HISTORY, batch.joined)
        enqueue_on_commit(REPLAY_TASK)
    for row in batch.joined:
        audit(
            "subscription.added",
            account=store.account,
            subject=row.dapp_url[:256],
            detail=f"through {row.added_by}",
        )
    events = [subscription_event(EventKind.SUBSCRIPTION, row) for row in batch.joined]
    events += [subscription_event(EventKind.UPDATE, row) for row in batch.changed]
    return events + end_subscriptions(batch.ended, reason=BY_WALLET)


def _know_dapps(rows: Sequence[Subscription]) -> None:
    """Give rows the dapp's pinned key; for unknown dapps a task reads the documents."""
    unknown = [row for row in rows if not row.dapp_authentication_did]
    if not unknown:
        return
    dids = authentication_dids({row.dapp_url for row in unknown})
    for row in unknown:
        row.dapp_authentication_did = dids.get(row.dapp_url, "")
    if not all(row.dapp_authentication_did for row in unknown):
        enqueue_on_commit(LEARN_TASK)


# --- after the replay -------------------------------------------------------------------


def announce_missing(store: Store) -> list[EventDraft]:
    """Tell the other devices what this server had before Sync was turned on.

    Runs once History has been replayed, so that nothing is announced that another
    wallet has announced, changed or left in the meantime.
    """
    rows = list(
        Subscription.objects.active()
        .select_for_update(of=("self",))
        .select_related("account")
        .filter(account_id=store.account_id)
    )
    keys = notify_keys(rows)
    written = known_keys(store, [row.topic for row in rows])
    values = {
        row.topic: row.with_key(keys[Topic(row.topic)])
        for row in rows
        if row.topic not in written and Topic(row.topic) in keys
    }
    events = _store(store, values)
    return events + _synced([row.pk for row in rows])


def _store(store: Store, values: Mapping[str, NotifySubscription]) -> list[EventDraft]:
    return store_set(
        store.account_id,
        store.name,
        store_entries(values.values()),
        notes={topic: in_words(value) for topic, value in values.items()},
    )


def _synced(subscription_pks: Sequence[int]) -> list[EventDraft]:
    attempts = list(
        SubscribeAttempt.objects.filter(
            subscription_id__in=subscription_pks, state=State.SETTLED
        )
    )
    move([each.pk for each in attempts], State.SETTLED, State.SYNCED)
    return [attempt_event(attempt) for attempt in attempts]
