"""Reads the due rows of a party's outbox, for all of its lanes in this process.

One query serves all lanes that have no request under way. It reads, for each of them,
only rows of the lane's shards, by an index that has nothing else, so many lanes read what
one would. Rows of a shard come in the order of their ids, which keeps the order of every
topic; a lane with many due rows reads one shard after the other, and starts again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from common import clock
from messaging.gateway.running import first_to_end
from messaging.outbox import outbox_channel

if TYPE_CHECKING:
    from datetime import datetime

    from messaging.gateway.database import Database
    from messaging.gateway.wakes import WakeListener
    from messaging.models import Party
    from messaging.shards import ShardRange
    from walletconnect.json_values import JsonObject

SCAN_S: Final = 2.0
# Of one lane, and of all lanes together, in one query.
MAX_LANE_ROWS: Final = 1_000
MAX_ROWS: Final = 10_000

# A message that waits for its next attempt holds back the later ones of its topic.
DUE: Final = """
SELECT lane.number, due.shard, due.id, due.topic, due.message, due.tag, due.ttl,
    due.prompt, due.attempts, due.created_at
FROM unnest(%(numbers)b::int[], %(firsts)b::int[], %(lasts)b::int[])
    AS lane (number, first, last)
CROSS JOIN LATERAL (
    SELECT * FROM messaging_outboxmessage AS waiting
    WHERE party = %(party)s AND state = 'due'
        AND shard BETWEEN lane.first AND lane.last
        AND (attempts = 0 OR next_attempt_at <= %(now)s)
        AND NOT EXISTS (
            SELECT 1 FROM messaging_outboxmessage AS held
            WHERE held.party = %(party)s AND held.state = 'due' AND held.attempts > 0
                AND held.topic = waiting.topic AND held.id < waiting.id
                AND held.next_attempt_at > %(now)s
        )
    ORDER BY shard, id LIMIT %(limit)s
) AS due
"""


class Row(NamedTuple):
    """A due row of the outbox."""

    pk: int
    topic: str
    message: str
    tag: int
    ttl: int
    prompt: bool
    attempts: int
    created_at: datetime

    def to_params(self) -> JsonObject:
        """The parameters of ``irn_publish``; the outbox has checked them."""
        return {
            "topic": self.topic,
            "message": self.message,
            "ttl": self.ttl,
            "prompt": self.prompt,
            "tag": self.tag,
        }


@dataclass(slots=True)
class _Waiting:
    """A lane that is ready to publish."""

    shards: ShardRange
    rows: asyncio.Future[list[Row]]
    # The wake-up after which it was read and nothing was due.
    idle_since: int | None = None


class DueRows:
    """Gives every lane its due rows when it asks for them."""

    def __init__(self, party: Party, database: Database, wakes: WakeListener) -> None:
        self._party = party
        self._database = database
        self._wake = wakes.event(outbox_channel(party))
        # Counts wake-ups and scans, so that one during a query is not missed.
        self._wakes = 0
        self._waiting: dict[int, _Waiting] = {}
        # Where the next read of a lane begins.
        self._next_shard: dict[int, int] = {}
        self._ready = asyncio.Event()

    async def take(self, lane: int, shards: ShardRange) -> list[Row]:
        """Wait for due rows of a lane; empty after ``withdraw``."""
        found: asyncio.Future[list[Row]] = asyncio.get_running_loop().create_future()
        if self._next_shard.get(lane, -1) not in shards:
            self._next_shard[lane] = shards.first
        self._waiting[lane] = _Waiting(shards, found)
        self._ready.set()
        return await found

    def withdraw(self, lane: int) -> None:
        """End the wait of a lane that stops."""
        waiting = self._waiting.pop(lane, None)
        if waiting is not None and not waiting.rows.done():
            waiting.rows.set_result([])

    async def run(self) -> None:
        await first_to_end(self._count_wakes(), self._read_for_all())

    async def _count_wakes(self) -> None:
        while True:
            await self._wake.wait(SCAN_S)
            self._wake.clear()
            self._wakes += 1
            self._ready.set()

    async def _read_for_all(self) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            while lanes := self._unread():
                await self._read(lanes)

    def _unread(self) -> dict[int, _Waiting]:
        # A session that ended left a wait that was cancelled.
        ended = [lane for lane, each in self._waiting.items() if each.rows.done()]
        for lane in ended:
            del self._waiting[lane]
        return {
            lane: each
            for lane, each in self._waiting.items()
            if each.idle_since != self._wakes
        }

    async def _read(self, lanes: dict[int, _Waiting]) -> None:
        wakes, limit = self._wakes, min(MAX_LANE_ROWS, MAX_ROWS // len(lanes))
        found = await self._database.fetch(
            DUE,
            {
                "party": self._party.value,
                "now": clock.now(),
                "limit": limit,
                "numbers": list(lanes),
                "firsts": [self._next_shard[lane] for lane in lanes],
                "lasts": [each.shards.last for each in lanes.values()],
            },
        )
        rows_of: dict[int, list[Row]] = defaultdict(list)
        last_shard: dict[int, int] = {}
        for lane, shard, *row in found:
            rows_of[lane].append(Row._make(row))
            last_shard[lane] = shard
        for lane, waiting in lanes.items():
            if self._waiting.get(lane) is not waiting:
                continue
            rows, began = rows_of[lane], self._next_shard[lane]
            self._next_shard[lane] = waiting.shards.first
            if len(rows) == limit and last_shard[lane] < waiting.shards.last:
                # The last shard may have more rows. But if it alone had enough for this
                # read, the next one has its turn.
                is_alone = last_shard[lane] == began
                self._next_shard[lane] = last_shard[lane] + is_alone
            if rows:
                del self._waiting[lane]
                if not waiting.rows.done():
                    waiting.rows.set_result(rows)
            elif began == waiting.shards.first:
                waiting.idle_since = wakes
