"""Where accounts stand with dapps, locked for the length of a transaction.

A subscribe comes on the dapp's topic, an update or delete on the account's own: two
workers may hold one of each for the same account. So every change of an account's
subscriptions at a dapp is made under a lock of the pair, taken for a whole batch in one
query and in one order.
"""

from __future__ import annotations

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
    """The topics that an account has at a dapp, oldest first, and its last farewell.

    Kept up to date within a batch, so that a second request of one batch sees the first.
    """

    live: list[Subscriber] = field(default_factory=list)
    last_delete_iat: int | None = None

    @property
    def newest(self) -> Subscriber | None:
        return self.live[-1] if self.live else None

    def end(self, subscriber: Subscriber, *, iat: int) -> list[Subscriber]:
        """End a topic and those before it; the answer is what ended.

        A wallet that leaves its newest topic leaves the dapp: topics that it got before
        may be of attempts it never heard an answer to. Leaving an older one, say a double
        entry, leaves the newer alone, as on servers where only the newest lives.
        """
        place = self.live.index(subscriber)
        ended, self.live = self.live[: place + 1], self.live[place + 1 :]
        if not self.live:
            self.last_delete_iat = max(iat, self.last_delete_iat or 0)
        return ended


def lock_accounts(pairs: Iterable[Pair]) -> dict[Pair, AccountState]:
    """The standing of every pair, locked until the transaction ends."""
    wanted = set(pairs)
    standings = {pair: AccountState() for pair in wanted}
    if not wanted:
        return standings
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [[" ".join(pair) for pair in wanted]])
    rows = Subscriber.objects.filter(
        Q(project_id__in={project_id for project_id, _ in wanted}),
        Q(account_key__in={account_key for _, account_key in wanted}),
    )
    now = clock.now()
    for row in rows.order_by("id"):
        standing = standings.get((row.project_id, row.account_key))
        if standing is None:
            continue
        if row.is_live(now):
            standing.live.append(row)
        elif row.delete_iat is not None:
            standing.last_delete_iat = max(
                row.delete_iat, standing.last_delete_iat or 0
            )
    return standings
