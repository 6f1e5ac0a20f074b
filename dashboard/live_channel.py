"""The live page as a notification channel: hints to the sockets of a user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

from django.db import connection, transaction

from accounts.services import Channel, send_hint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accounts.services import UserEvents


class AccountEvents(TypedDict):
    """What the web processes receive: users, and the new end of their event logs."""

    type: Literal["account.events"]
    heads: list[tuple[int, int]]


class LivePage(Channel):
    """Sends each user's new head on commit; web processes read the rows themselves."""

    name = "live-page"

    def deliver(self, batches: Sequence[UserEvents]) -> None:
        hint = _pending_hint()
        if hint is None:
            hint = _Hint(frozenset(connection.savepoint_ids))
            transaction.on_commit(hint, robust=True)
        hint.heads.update({batch.user_id: batch.head.sequence for batch in batches})


class _Hint:
    """One message per transaction, however often events were recorded."""

    def __init__(self, savepoints: frozenset[str]) -> None:
        self.savepoints = savepoints
        self.heads: dict[int, int] = {}

    def __call__(self) -> None:
        if self.heads:
            send_hint(
                AccountEvents(type="account.events", heads=list(self.heads.items()))
            )


def _pending_hint() -> _Hint | None:
    # A hook of an outer savepoint would survive the rollback of the current one, and
    # would then announce numbers that were rolled back.
    current = frozenset(connection.savepoint_ids)
    for hook in connection.run_on_commit:
        if isinstance(hook[1], _Hint) and hook[1].savepoints == current:
            return hook[1]
    return None
