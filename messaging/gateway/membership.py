"""How gateway processes share the lanes of a party, without a process that leads.

All of it is in advisory locks of PostgreSQL. Every gateway of a party holds one lock in
shared mode, so the number of its holders is the number of gateways; and it holds a lock
for each lane that it serves. The locks belong to one database session, so they are free
as soon as the gateway is killed. A session that is silent for ``LEASE_S`` is ended by
PostgreSQL: a gateway that is frozen, or whose machine vanished, loses its lanes, too.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, LiteralString

from messaging.models import Party

if TYPE_CHECKING:
    import psycopg
    from psycopg.abc import Params
    from psycopg.rows import TupleRow

logger = logging.getLogger(__name__)

# The first number is the kind of lock, the second the party. A gateway of an earlier
# version holds this lock exclusively; none of ours runs beside it.
PARTY_LOCK: Final = 7_320
# The first number is the sum of this one and the party's, the second the lane.
LANE_LOCK: Final = 7_330
PARTY_NUMBERS: Final = {Party.WALLET: 1, Party.CAST: 2}
POLL_S: Final = 1.0
LEASE_S: Final = 8

_CONFIGURE: Final = (
    f"SET idle_session_timeout = '{LEASE_S}s'",
    # For a machine that vanished: no answer to three probes within this time.
    "SET tcp_keepalives_idle = 3",
    "SET tcp_keepalives_interval = 1",
    "SET tcp_keepalives_count = 3",
)

_HOLDERS: Final = """
SELECT classid::bigint, objid::bigint, pid = pg_backend_pid() FROM pg_locks
WHERE locktype = 'advisory' AND granted AND objsubid = 2
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint = %(lanes)s
        OR classid::bigint = %(parties)s AND objid::bigint = %(party)s)
"""


@dataclass(frozen=True, slots=True)
class Sharing:
    """The gateways of a party at one moment."""

    members: int
    # Lane numbers.
    ours: frozenset[int]
    held: frozenset[int]


class Membership:
    """This gateway among those of a party, and the connection that holds its locks."""

    def __init__(
        self, party: Party, connection: psycopg.AsyncConnection[TupleRow]
    ) -> None:
        self.party = party
        self._connection = connection
        self._lanes = LANE_LOCK + PARTY_NUMBERS[party]

    async def join(self) -> None:
        """Waits while a gateway of an earlier version runs."""
        for statement in _CONFIGURE:
            await self._connection.execute(statement)
        waited = False
        while not await self._is_true(
            "SELECT pg_try_advisory_lock_shared(%s, %s)",
            (PARTY_LOCK, PARTY_NUMBERS[self.party]),
        ):
            if not waited:
                logger.info(
                    "a gateway of an earlier version runs for %s; waiting",
                    self.party.value,
                )
                waited = True
            await asyncio.sleep(POLL_S)

    async def sharing(self) -> Sharing:
        cursor = await self._connection.execute(
            _HOLDERS,
            {
                "lanes": self._lanes,
                "parties": PARTY_LOCK,
                "party": PARTY_NUMBERS[self.party],
            },
        )
        rows = await cursor.fetchall()
        lanes = [(lane, is_ours) for kind, lane, is_ours in rows if kind == self._lanes]
        return Sharing(
            members=len(rows) - len(lanes),
            ours=frozenset(lane for lane, is_ours in lanes if is_ours),
            held=frozenset(lane for lane, _ in lanes),
        )

    async def claim(self, lane: int) -> bool:
        return await self._is_true(
            "SELECT pg_try_advisory_lock(%s, %s)", (self._lanes, lane)
        )

    async def release(self, lane: int) -> None:
        await self.execute("SELECT pg_advisory_unlock(%s, %s)", (self._lanes, lane))

    async def execute(self, statement: LiteralString, parameters: Params) -> None:
        """Run on the connection of the locks; if that works, they are still held."""
        await self._connection.execute(statement, parameters)

    async def _is_true(self, statement: LiteralString, parameters: Params) -> bool:
        cursor = await self._connection.execute(statement, parameters)
        row = await cursor.fetchone()
        return bool(row and row[0])
