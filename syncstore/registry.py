"""Hooks of the apps that own store names.

``syncstore`` handles keys and values without interpreting them. The app that owns a store
name registers here, in its ``handlers.py``::

    @on_applied("com.walletconnect.notify.notifySubscription")
    def adopt(store: Store, applied: list[AppliedUpdate]) -> Consequences | None: ...

Hooks run in the transaction of the apply, with the store locked: they write rows and
outbox rows, and use no network. A value that the owner cannot use stays in the store
anyway, or this device would differ from the others; the owner returns a note for the log.
Events are returned, not recorded: recording locks users, so it comes last in a
transaction. These are not Django signals because each store has one owner, whose result
is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from common.named import Named
from walletconnect.sync.store import StoreSet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from accounts.services import EventDraft
    from syncstore.models import Store
    from walletconnect.sync.store import StoreDelete


@dataclass(frozen=True, slots=True)
class AppliedUpdate:
    """The current update of ``key``; ``value`` is None after a delete.

    Of several updates of one key in a batch only the last is passed. Local writes are not
    passed: the owner made them. ``source`` is a ``StoreUpdate.Source``.
    """

    key: str
    value: str | None = field(repr=False)
    rpc_id: int
    source: str


@dataclass(frozen=True, slots=True)
class Consequences:
    """What a hook returns. ``notes`` are texts for the log by key, without secrets.

    ``authors`` are who made the updates, by key. ``then`` runs after the log is written, in
    the same transaction: an owner that writes into the store does so there, so that the log
    has its update after the one that caused it.
    """

    notes: Mapping[str, str] = field(default_factory=dict)
    events: Sequence[EventDraft] = ()
    authors: Mapping[str, str] = field(default_factory=dict)
    then: Callable[[], Sequence[EventDraft]] | None = None


AppliedHook: TypeAlias = "Callable[[Store, list[AppliedUpdate]], Consequences | None]"
RebuiltHook: TypeAlias = "Callable[[Store], Sequence[EventDraft]]"

_applied_hooks: Named[AppliedHook] = Named("store")
_rebuilt_hooks: Named[RebuiltHook] = Named("store")

# For updates from the relay or from History.
on_applied = _applied_hooks.register
# After History has been replayed into the store; the store is locked, and the events that
# the hook returns are recorded.
on_rebuilt = _rebuilt_hooks.register


def notify_applied(
    store: Store, updates: Sequence[StoreSet | StoreDelete], *, source: str
) -> Consequences:
    hook = _applied_hooks.get(store.name)
    if hook is None or not updates:
        return Consequences()
    applied = [
        AppliedUpdate(
            key=each.key,
            value=each.value if isinstance(each, StoreSet) else None,
            rpc_id=each.id,
            source=source,
        )
        for each in updates
    ]
    return hook(store, applied) or Consequences()


def notify_rebuilt(store: Store) -> Sequence[EventDraft]:
    hook = _rebuilt_hooks.get(store.name)
    return () if hook is None else hook(store)
