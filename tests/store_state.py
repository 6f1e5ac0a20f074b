"""A store as a plain dictionary: what any order of updates has to end in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from walletconnect.sync.store import Outcome, StoreSet, StoreUpdate, outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterable


class StoreState:
    """The last update of every key, deleted keys included."""

    def __init__(self, updates: Iterable[StoreUpdate] = ()) -> None:
        self.updates: dict[str, StoreUpdate] = {}
        for update in updates:
            self.apply(update)

    def apply(self, update: StoreUpdate) -> Outcome:
        last = self.updates.get(update.key)
        outcome = outcome_of(update.id, None if last is None else last.id)
        if outcome is Outcome.APPLIED:
            self.updates[update.key] = update
        return outcome

    @property
    def entries(self) -> dict[str, str]:
        return {
            key: update.value
            for key, update in self.updates.items()
            if isinstance(update, StoreSet)
        }

    @property
    def last_ids(self) -> dict[str, int]:
        return {key: update.id for key, update in self.updates.items()}
