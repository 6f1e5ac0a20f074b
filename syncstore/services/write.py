"""Local writes: ``wc_syncSet`` and ``wc_syncDel`` of our own devices.

The store changes and the message to the other devices is stored in one transaction, the
caller's. An unchanged value and an absent key publish nothing.

Both return the events to record. The caller does so, once and last, because recording
locks users; ``lock_stores`` comes first for the same reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from common import clock, entropy
from keychain.services import DecryptionFailed, Holder, open_sealed, sym_keys
from messaging import outbox
from messaging.models import Party
from syncstore.models import Store, StoreEntry, StoreUpdate
from syncstore.services.apply import Arrival, apply_updates, lock_stores
from walletconnect.crypto.keys import Topic
from walletconnect.errors import LocalProtocolError
from walletconnect.sync.store import StoreDelete, StoreSet, next_id, publish_update
from walletconnect.sync.store import StoreUpdate as Update

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from accounts.models import Device
    from accounts.services import EventDraft
    from walletconnect.crypto.keys import SymKey


class StoreKeyMissing(Exception):
    """The keychain has no key for the store's topic, so nothing can be written."""


def store_set(
    account_id: int,
    store_name: str,
    values: Mapping[str, str],
    *,
    device: Device | None = None,
    notes: Mapping[str, str] | None = None,
) -> list[EventDraft]:
    """Set keys of the account's store on all its devices.

    Without Sync on the account this does nothing. ``notes`` describe the changes by key,
    for the log.
    """
    with transaction.atomic():
        store = _locked(account_id, store_name)
        if store is None:
            return []
        kept = _entries(store, values)
        changed = [key for key in values if _value(kept.get(key)) != values[key]]
        return _write(
            store,
            changed,
            kept=kept,
            make=lambda key, update_id: StoreSet(key, values[key], update_id),
            device=device,
            notes=notes or {},
        )


def store_delete(
    account_id: int,
    store_name: str,
    keys: Collection[str],
    *,
    device: Device | None = None,
    notes: Mapping[str, str] | None = None,
) -> list[EventDraft]:
    """Delete keys of the account's store on all its devices."""
    with transaction.atomic():
        store = _locked(account_id, store_name)
        if store is None:
            return []
        kept = _entries(store, keys)
        present = [key for key in keys if key in kept and not kept[key].is_deleted]
        return _write(
            store,
            present,
            kept=kept,
            make=StoreDelete,
            device=device,
            notes=notes or {},
        )


def store_race(
    account_id: int, store_name: str, key: str, writes: Sequence[tuple[str, Device]]
) -> list[EventDraft]:
    """Let devices set one key at the same moment; for the demonstration of conflicts.

    Ids ascend in the order given, and the updates arrive, here and at the relay, in the
    reverse order: the last one wins, and the others are older when they arrive.
    """
    with transaction.atomic():
        store = _locked(account_id, store_name)
        if store is None:
            return []
        store_key = _store_key(store)
        kept = _entries(store, [key]).get(key)
        updates = [StoreSet(key, value, _next_id(store, kept)) for value, _ in writes]
        events: list[EventDraft] = []
        for update, (_, device) in reversed(list(zip(updates, writes, strict=True))):
            events += _apply_own(store, [update], store_key, device=device, notes={})
        return events


def known_keys(store: Store, keys: Collection[str]) -> set[str]:
    """Those of ``keys`` that the store has an update of, deleted ones included."""
    rows = StoreEntry.objects.filter(store=store, key__in=list(keys))
    return set(rows.values_list("key", flat=True))


def present_values(store: Store, keys: Collection[str]) -> dict[str, str]:
    """The current values of ``keys``; absent and deleted ones are left out."""
    values = {key: _value(row) for key, row in _entries(store, keys).items()}
    return {key: value for key, value in values.items() if value is not None}


def _locked(account_id: int, store_name: str) -> Store | None:
    return next(iter(lock_stores(account_id=account_id, name=store_name)), None)


def _entries(store: Store, keys: Collection[str]) -> dict[str, StoreEntry]:
    rows = StoreEntry.objects.filter(store=store, key__in=list(keys))
    found = {}
    for row in rows:
        row.store = store
        found[row.key] = row
    return found


def _value(entry: StoreEntry | None) -> str | None:
    """The current value; None for an absent key, or one that does not open."""
    if entry is None or entry.is_deleted:
        return None
    try:
        return open_sealed(entry.context, entry.sealed_value).decode()
    except DecryptionFailed:
        return None


def _write(
    store: Store,
    keys: Sequence[str],
    *,
    kept: Mapping[str, StoreEntry],
    make: Callable[[str, int], Update],
    device: Device | None,
    notes: Mapping[str, str],
) -> list[EventDraft]:
    if not keys:
        return []
    store_key = _store_key(store)
    updates = [make(key, _next_id(store, kept.get(key))) for key in keys]
    return _apply_own(store, updates, store_key, device=device, notes=notes)


def _store_key(store: Store) -> SymKey:
    store_key = sym_keys(Holder.WALLET, [store.topic]).get(Topic(store.topic))
    if store_key is None:
        raise StoreKeyMissing(f"no key for store {store.pk}")
    return store_key


def _apply_own(
    store: Store,
    updates: Sequence[Update],
    store_key: SymKey,
    *,
    device: Device | None,
    notes: Mapping[str, str],
) -> list[EventDraft]:
    """Apply updates here and put their messages into the outbox, in this order."""
    published = [
        publish_update(update, store_key, iv=entropy.iv()) for update in updates
    ]
    sent = outbox.publish_all(Party.WALLET, published)
    arrivals = [
        Arrival(
            update,
            size=len(each.message),
            published_at=clock.now_ms(),
            outbox_id=outbox_id,
        )
        for update, each, outbox_id in zip(updates, published, sent, strict=True)
    ]
    applied = apply_updates(
        {store.pk: arrivals},
        source=StoreUpdate.Source.DEVICE,
        device_id=device.pk if device else None,
        notes=notes,
    )
    return list(applied.events)


def _next_id(store: Store, entry: StoreEntry | None) -> int:
    """An id above all of the store: sync-client 0.3.8 compares with the newest of *any* key.

    If a peer has used up the ids of another key, this key can still be written.
    """
    now_id = clock.payload_id()
    try:
        update_id = next_id(now_id, store.last_id)
    except LocalProtocolError:
        return next_id(now_id, entry.last_id if entry else 0)
    store.last_id = update_id
    return update_id
