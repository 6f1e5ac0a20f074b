"""The live subscriptions of accounts at dapps, locked for the length of a transaction.

A subscribe arrives on the dapp's topic, an update or delete on the account's own, so two
workers may hold requests of one account. Every change of an account's subscriptions at a dapp
is therefore made under an advisory lock of the pair. A batch takes its locks in one query and
in sorted order, so that two batches cannot deadlock.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from django.db import connection
from django.db.models import Q

from castserver.models import Subscriber
from common import clock

if TYPE_CHECKING:
    from collections.abc import Iterable

Pair: TypeAlias = tuple[str, str]
"""(project id, account key)."""

_LOCK = """
SELECT pg_advisory_xact_lock(hashtextextended(pair, 0))
FROM (SELECT DISTINCT unnest(%s::text[]) AS pair ORDER BY 1) AS pairs
"""


@dataclass(slots=True)
class AccountState:
    """The live topics of an account at a dapp, oldest first, and its last delete.

    Updated within a batch, so that a later request of the batch sees an earlier one.
    """

    live: list[Subscriber] = field(default_factory=list)
    last_delete_iat: int | None = None

    def add(self, subscriber: Subscriber) -> None:
        """Put a new topic where its subscribe was signed, which may have arrived late."""
        insort(self.live, subscriber, key=lambda each: each.subscribe_iat)

    @property
    def newest(self) -> Subscriber | None:
        return self.live[-1] if self.live else None

    def end(self, subscriber: Subscriber, *, iat: int) -> list[Subscriber]:
        """End a topic and the older ones; returns the rows that ended.

        Deleting the newest topic ends the subscription: older topics may belong to
        attempts whose answer the wallet never received. Deleting an older one, such as a
        duplicate, keeps the newer, as on servers that keep one topic per account.
        """
        end = self.live.index(subscriber) + 1
        ended, self.live = self.live[:end], self.live[end:]
        if not self.live:
            self.last_delete_iat = max(iat, self.last_delete_iat or 0)
        return ended


def lock_accounts(pairs: Iterable[Pair]) -> dict[Pair, AccountState]:
    """The state of every pair, locked until the transaction ends."""
    states = {pair: AccountState() for pair in pairs}
    if not states:
        return states
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [[" ".join(pair) for pair in states]])
    rows = Subscriber.objects.filter(
        Q(project_id__in={project_id for project_id, _ in states}),
        Q(account_key__in={account_key for _, account_key in states}),
    )
    now = clock.now()
    for row in rows.oldest_first():
        state = states.get((row.project_id, row.account_key))
        if state is None:
            continue
        if row.is_live(now):
            state.live.append(row)
        elif row.delete_iat is not None:
            state.last_delete_iat = max(row.delete_iat, state.last_delete_iat or 0)
    return states
