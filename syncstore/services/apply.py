"""Applying updates to stores: per key the highest id wins, in any order of arrival.

Spec: WalletConnect specs, clients/core/sync/sync-protocol.md. The rule is
``walletconnect.sync.store.outcome_of``. A batch for many stores is one statement per table:
lock the stores, read the present entries, decide, write the winners and the log, move the
devices' cursors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from django.db import transaction

from accounts.services import EventDraft, EventKind
from common import clock
from common.failpoints import failpoint
from keychain.services import DecryptionFailed, open_sealed, seal
from syncstore import registry
from syncstore.diff import changes_between
from syncstore.models import (
    KEY_LENGTH,
    REASON_LENGTH,
    Store,
    StoreUpdate,
    value_context,
)
from syncstore.registry import Consequences
from syncstore.services import statements
from syncstore.services.statements import EntryRow, LogRow
from walletconnect.json_values import dump_json
from walletconnect.sync.store import Outcome, StoreDelete, outcome_of
from walletconnect.sync.store import StoreUpdate as Update

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID


# An id this far ahead of our clock is applied, since all devices must reach the same state,
# and marked in the log: the next local write of the key needs an even higher id.
FAR_AHEAD_MS = 24 * 60 * 60 * 1000
FAR_AHEAD = "its id is far ahead of the clock"


@dataclass(frozen=True, slots=True)
class Arrival:
    """An update as it arrived; the other members are for the log."""

    update: Update
    size: int = 0
    published_at: int | None = None
    outbox_id: int | None = None


@dataclass(frozen=True, slots=True)
class RefusedArrival:
    """A message on a store topic that is not an update; it is logged and has no effect."""

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
    store's owner is not called, since it is the caller. A replay from History does not
    log repeats. The caller records the events, last.
    """
    now = clock.now()
    with transaction.atomic():
        stores = lock_stores(pk__in=list(arrivals))
        winners, lines = _decide(stores, arrivals, log_repeats=log_repeats)
        statements.upsert_entries(
            [
                EntryRow(store.pk, each.key, each.id, is_deleted=True)
                if isinstance(each, StoreDelete)
                else EntryRow(
                    store.pk,
                    each.key,
                    each.id,
                    is_deleted=False,
                    sealed_value=seal(
                        value_context(store, each.key), each.value.encode()
                    ),
                )
                for store in stores
                for each in winners[store.pk]
            ],
            now=now,
        )
        statements.raise_heads(
            {pk: updates[-1].id for pk, updates in winners.items() if updates}
        )
        events: list[EventDraft] = []
        notes_of: dict[tuple[int, str, int], tuple[str, str]] = {}
        follow_ups = []
        for store in stores:
            updates = winners[store.pk]
            if updates:
                subject = f"syncstore.store:{store.pk}"
                events.append(EventDraft(store.account_id, EventKind.SYNC, subject))
            consequences = (
                registry.notify_applied(store, updates, source=source)
                if notes is None
                else Consequences(notes)
            )
            events += consequences.events
            if consequences.then is not None:
                follow_ups.append(consequences.then)
            for each in updates:
                note = consequences.notes.get(each.key, "")
                by = consequences.authors.get(each.key, "")
                notes_of[store.pk, each.key, each.id] = (
                    note[:REASON_LENGTH],
                    by[:REASON_LENGTH],
                )
        for place, line in enumerate(lines):
            note, by = notes_of.get((line.store_id, line.key, line.rpc_id), ("", ""))
            lines[place] = replace(line, note=note, author=by)
        heads = statements.write_log(
            lines,
            source=source,
            device_id=device_id,
            now=now,
        )
        statements.move_cursors(heads, now=now)
        for follow_up in follow_ups:
            events += follow_up()
        failpoint("sync.apply.before_commit")
    return Applied({pk: len(updates) for pk, updates in winners.items()}, events)


def _decide(
    stores: Sequence[Store],
    arrivals: Mapping[int, Sequence[AnyArrival]],
    *,
    log_repeats: bool,
) -> tuple[dict[int, list[Update]], list[LogRow]]:
    """The last update of every changed key, lowest id first, and the lines of the log."""
    current = statements.current_entries(
        {
            (store.pk, arrival.update.key)
            for store in stores
            for arrival in arrivals[store.pk]
            if isinstance(arrival, Arrival)
        }
    )
    far_ahead = (clock.now_ms() + FAR_AHEAD_MS) * 1000
    winners: dict[int, list[Update]] = {}
    lines: list[LogRow] = []
    for store in stores:
        by_key: dict[str, Update] = {}
        last_ids = {
            key: entry.last_id for (pk, key), entry in current.items() if pk == store.pk
        }
        values = _Values(store, current)
        for arrival in arrivals[store.pk]:
            if isinstance(arrival, RefusedArrival):
                lines.append(
                    LogRow(
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
                )
                continue
            update = arrival.update
            previous = last_ids.get(update.key)
            outcome = outcome_of(update.id, previous)
            if outcome is not Outcome.DUPLICATE or log_repeats:
                lines.append(
                    LogRow(
                        store_id=store.pk,
                        key=update.key,
                        action=action_of(update),
                        rpc_id=update.id,
                        previous_id=previous,
                        outcome=outcome,
                        reason=FAR_AHEAD if update.id > far_ahead else "",
                        changes="[]"
                        if outcome is Outcome.DUPLICATE
                        else dump_json(
                            changes_between(values.of(update.key), value_of(update))
                        ),
                        size=arrival.size,
                        published_at=arrival.published_at,
                        outbox_id=arrival.outbox_id,
                    )
                )
            if outcome is Outcome.APPLIED:
                last_ids[update.key] = update.id
                by_key[update.key] = update
                values.put(update)
        winners[store.pk] = sorted(by_key.values(), key=lambda each: each.id)
    return winners, lines


class _Values:
    """The values of one store's keys, opened when they are compared."""

    def __init__(
        self,
        store: Store,
        current: Mapping[tuple[int, str], statements.CurrentEntry],
    ) -> None:
        self._store = store
        self._current = current
        self._opened: dict[str, str | None] = {}

    def of(self, key: str) -> str | None:
        if key in self._opened:
            return self._opened[key]
        entry = self._current.get((self._store.pk, key))
        if entry is None or entry.sealed_value is None:
            return None
        try:
            context = value_context(self._store, key)
            return open_sealed(context, entry.sealed_value).decode()
        except DecryptionFailed:
            return None

    def put(self, update: Update) -> None:
        self._opened[update.key] = value_of(update)


def value_of(update: Update) -> str | None:
    return None if isinstance(update, StoreDelete) else update.value


def action_of(update: Update) -> StoreUpdate.Action:
    deletes = isinstance(update, StoreDelete)
    return StoreUpdate.Action.DELETE if deletes else StoreUpdate.Action.SET


def lock_stores(**which: object) -> list[Store]:
    """Lock stores, in order of their keys; before any row that depends on them.

    Callers that write a store and rows of their own take these locks first, so that two
    batches cannot deadlock.
    """
    return list(
        Store.objects.select_for_update(of=("self",))
        .select_related("account")
        .filter(**which)
        .order_by("pk")
    )
