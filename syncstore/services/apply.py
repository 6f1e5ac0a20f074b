"""Applying updates to stores: per key the highest id wins, whatever the order.

Spec: clients/core/sync/sync-protocol.md; protocol.md, section 4.3. The rule is
``walletconnect.sync.store.outcome_of``. Here a batch for many stores becomes one
statement per table: lock the stores, read the last ids, decide, write the winners, log
everything, move the devices' cursors, tell the browsers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from django.db import transaction

from accounts.services import EventDraft, EventKind
from common import clock
from common.failpoints import failpoint
from keychain.services import seal
from syncstore import registry
from syncstore.models import (
    KEY_LENGTH,
    REASON_LENGTH,
    Store,
    StoreUpdate,
    value_context,
)
from syncstore.registry import AppliedUpdate, Consequences
from syncstore.services import statements
from syncstore.services.statements import EntryRow, LogRow
from walletconnect.sync.store import Outcome, StoreDelete, StoreSet, outcome_of
from walletconnect.sync.store import StoreUpdate as Update

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID


# An id this far ahead of our clock is applied, since all devices must end alike, and
# marked in the log: the next local write of the key has to overtake it.
FAR_AHEAD_MS = 24 * 60 * 60 * 1000
FAR_AHEAD = "its id is far ahead of the clock"


@dataclass(frozen=True, slots=True)
class Arrival:
    """An update as it came, with what the log says of its journey."""

    update: Update
    size: int = 0
    published_at: int | None = None


@dataclass(frozen=True, slots=True)
class RefusedArrival:
    """Something on a store topic that is no update; it is logged and has no effect."""

    reason: str
    key: str = ""
    action: str = StoreUpdate.Action.SET
    rpc_id: int = 0
    size: int = 0
    published_at: int | None = None


AnyArrival: TypeAlias = Arrival | RefusedArrival


@dataclass(frozen=True, slots=True)
class Applied:
    """How many updates took effect, by store, and the events to record."""

    counts: Mapping[int, int]
    events: Sequence[EventDraft]


@dataclass(slots=True)
class _Batch:
    """What a batch came to, before it is written."""

    last_ids: dict[tuple[int, str], int]
    log_repeats: bool
    far_ahead: int = field(
        default_factory=lambda: (clock.now_ms() + FAR_AHEAD_MS) * 1000
    )
    winners: dict[tuple[int, str], Update] = field(default_factory=dict)
    lines: list[LogRow] = field(default_factory=list)

    def take(self, store: Store, arrival: AnyArrival) -> None:
        if isinstance(arrival, RefusedArrival):
            self.lines.append(_refused_line(store, arrival))
            return
        update = arrival.update
        place = store.pk, update.key
        previous = self.last_ids.get(place)
        outcome = outcome_of(update.id, previous)
        if outcome is not Outcome.DUPLICATE or self.log_repeats:
            self.lines.append(
                LogRow(
                    store_id=store.pk,
                    key=update.key,
                    action=action_of(update),
                    rpc_id=update.id,
                    previous_id=previous,
                    outcome=outcome,
                    reason=FAR_AHEAD if update.id > self.far_ahead else "",
                    size=arrival.size,
                    published_at=arrival.published_at,
                )
            )
        if outcome is Outcome.APPLIED:
            self.last_ids[place] = update.id
            self.winners[place] = update

    def by_store(self, stores: Sequence[Store]) -> dict[int, list[Update]]:
        """The winners of each store, lowest id first."""
        found: dict[int, list[Update]] = {store.pk: [] for store in stores}
        for (store_pk, _key), update in self.winners.items():
            found[store_pk].append(update)
        for updates in found.values():
            updates.sort(key=lambda update: update.id)
        return found


def apply_updates(
    arrivals: Mapping[int, Sequence[AnyArrival]],
    *,
    source: StoreUpdate.Source,
    device_id: UUID | None = None,
    notes: Mapping[str, str] | None = None,
    log_repeats: bool = True,
) -> Applied:
    """Apply each store's arrivals, by the store's primary key.

    In the caller's transaction, if there is one. ``notes`` make it a local write: the
    store's owner is not told, since it wrote. A replay from History does not log what
    it only repeats. The caller records the events, last.
    """
    with transaction.atomic():
        stores = lock_stores(pk__in=list(arrivals))
        places = {
            (store.pk, arrival.update.key)
            for store in stores
            for arrival in arrivals[store.pk]
            if isinstance(arrival, Arrival)
        }
        batch = _Batch(statements.last_ids(places), log_repeats=log_repeats)
        for store in stores:
            for arrival in arrivals[store.pk]:
                batch.take(store, arrival)
        return _write(batch, stores, source=source, device_id=device_id, notes=notes)


def lock_stores(**which: object) -> list[Store]:
    """Lock stores, in order of their keys; before any row that depends on them.

    Whoever writes a store and rows of its own takes these locks first, so that two
    batches never wait for each other in a circle.
    """
    return list(
        Store.objects.select_for_update(of=("self",))
        .select_related("account")
        .filter(**which)
        .order_by("pk")
    )


def _write(
    batch: _Batch,
    stores: Sequence[Store],
    *,
    source: StoreUpdate.Source,
    device_id: UUID | None,
    notes: Mapping[str, str] | None,
) -> Applied:
    now = clock.now()
    applied = batch.by_store(stores)
    rows = [_entry(store, each) for store in stores for each in applied[store.pk]]
    statements.upsert_entries(rows, now=now)
    statements.raise_heads(
        {pk: updates[-1].id for pk, updates in applied.items() if updates}
    )
    told = {
        store.pk: _tell(store, applied[store.pk], source)
        if notes is None
        else Consequences(notes)
        for store in stores
    }
    lines = [_with_note(batch, line, told[line.store_id].notes) for line in batch.lines]
    heads = statements.write_log(lines, source=source, device_id=device_id, now=now)
    statements.move_cursors(heads, now=now)
    failpoint("sync.apply.before_commit")
    events = [_event(store) for store in stores if applied[store.pk]]
    for consequences in told.values():
        events += consequences.events
    return Applied({pk: len(updates) for pk, updates in applied.items()}, events)


def _tell(
    store: Store, updates: Sequence[Update], source: StoreUpdate.Source
) -> Consequences:
    return registry.notify_applied(
        store,
        [
            AppliedUpdate(
                key=each.key,
                value=each.value if isinstance(each, StoreSet) else None,
                rpc_id=each.id,
                source=source,
            )
            for each in updates
        ],
    )


def _entry(store: Store, update: Update) -> EntryRow:
    if isinstance(update, StoreDelete):
        return EntryRow(store.pk, update.key, update.id, is_deleted=True)
    sealed = seal(value_context(store, update.key), update.value.encode())
    return EntryRow(
        store.pk,
        update.key,
        update.id,
        is_deleted=False,
        sealed_value=sealed,
    )


def action_of(update: Update) -> StoreUpdate.Action:
    deletes = isinstance(update, StoreDelete)
    return StoreUpdate.Action.DELETE if deletes else StoreUpdate.Action.SET


def _refused_line(store: Store, arrival: RefusedArrival) -> LogRow:
    return LogRow(
        store_id=store.pk,
        key=arrival.key[:KEY_LENGTH],
        action=arrival.action,
        rpc_id=arrival.rpc_id,
        previous_id=None,
        outcome=StoreUpdate.Outcome.REFUSED,
        reason=arrival.reason[:REASON_LENGTH],
        size=arrival.size,
        published_at=arrival.published_at,
    )


def _with_note(batch: _Batch, line: LogRow, notes: Mapping[str, str]) -> LogRow:
    winner = batch.winners.get((line.store_id, line.key))
    if winner is None or winner.id != line.rpc_id or line.key not in notes:
        return line
    return replace(line, note=notes[line.key][:REASON_LENGTH])


def _event(store: Store) -> EventDraft:
    return EventDraft(store.account_id, EventKind.SYNC, f"syncstore.store:{store.pk}")
