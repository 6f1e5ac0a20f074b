"""Upwards by registration: what an app above does with the updates of its store.

``syncstore`` knows that a store has keys and values, not what they mean. The app that
owns a store name registers here, in its ``handlers.py``::

    @on_applied("com.walletconnect.notify.notifySubscription")
    def adopt(store: Store, applied: list[AppliedUpdate]) -> Consequences | None: ...

Functions run in the transaction of the apply, behind the lock on the store: they write
rows and outbox rows, and use no network. A value that means nothing to the owner stays
in the store all the same, or this device would differ from the others; the owner says
so in a note. Events are handed back, not recorded: recording locks users, and so comes
last in a transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from accounts.services import EventDraft
    from syncstore.models import Store


@dataclass(frozen=True, slots=True)
class AppliedUpdate:
    """The update that now stands for ``key``; ``value`` is None after a delete.

    Of several updates of one key in a batch only the last is handed over. ``source`` is
    a ``StoreUpdate.Source``; local writes are not handed over, their writer knows.
    """

    key: str
    value: str | None = field(repr=False)
    rpc_id: int
    source: str


@dataclass(frozen=True, slots=True)
class Consequences:
    """What came of updates. ``notes`` say by key, in words for the log: no secrets."""

    notes: Mapping[str, str] = field(default_factory=dict)
    events: Sequence[EventDraft] = ()


AppliedHook: TypeAlias = "Callable[[Store, list[AppliedUpdate]], Consequences | None]"
RebuiltHook: TypeAlias = "Callable[[Store], Sequence[EventDraft]]"

_applied_hooks: dict[str, AppliedHook] = {}
_rebuilt_hooks: dict[str, RebuiltHook] = {}


def on_applied(store_name: str) -> Callable[[AppliedHook], AppliedHook]:
    """Register who is told of updates that came from the relay or from History."""

    def register(hook: AppliedHook) -> AppliedHook:
        if _applied_hooks.setdefault(store_name, hook) is not hook:
            raise ValueError(f"store {store_name} already has an owner")
        return hook

    return register


def on_rebuilt(store_name: str) -> Callable[[RebuiltHook], RebuiltHook]:
    """Register who goes on once History has been replayed into the store.

    The function runs behind the lock on the store and answers the events to record.
    """

    def register(hook: RebuiltHook) -> RebuiltHook:
        if _rebuilt_hooks.setdefault(store_name, hook) is not hook:
            raise ValueError(f"store {store_name} already has an owner")
        return hook

    return register


def notify_applied(store: Store, applied: list[AppliedUpdate]) -> Consequences:
    hook = _applied_hooks.get(store.name)
    if hook is None or not applied:
        return Consequences()
    return hook(store, applied) or Consequences()


def notify_rebuilt(store: Store) -> Sequence[EventDraft]:
    hook = _rebuilt_hooks.get(store.name)
    return () if hook is None else hook(store)
