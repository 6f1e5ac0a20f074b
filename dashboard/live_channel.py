"""The live page as a notification channel: hints to the sockets of a user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

from django.db import connection, transaction

from accounts.services import Channel, send_to_groups, user_group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accounts.services import Head, UserEvents


class AccountEvents(TypedDict):
    """What the group ``user.<pk>`` receives."""

    type: Literal["account.events"]
    sequence: int
    generation: str


class LivePage(Channel):
    """Sends each user's new head on commit; sockets read the rows themselves."""

    name = "live-page"

    def deliver(self, batches: Sequence[UserEvents]) -> None:
        hint = _pending_hint()
        if hint is None:
            hint = _Hint(frozenset(connection.savepoint_ids))
            transaction.on_commit(hint, robust=True)
        hint.heads.update({batch.user_id: batch.head for batch in batches})


class _Hint:
    """One message per user and transaction, however often events were recorded."""

    def __init__(self, savepoints: frozenset[str]) -> None:
        self.savepoints = savepoints
        self.heads: dict[int, Head] = {}

    def __call__(self) -> None:
        send_to_groups(
            {
                user_group(user_id): AccountEvents(
                    type="account.events",
                    sequence=head.sequence,
                    generation=str(head.generation),
                )
                for user_id, head in self.heads.items()
            }
        )


def _pending_hint() -> _Hint | None:
    # A hook of an outer savepoint would survive the rollback of the current one, and
    # would then announce numbers that were rolled back.
    current = frozenset(connection.savepoint_ids)
    for hook in connection.run_on_commit:
        if isinstance(hook[1], _Hint) and hook[1].savepoints == current:
            return hook[1]
    return None
