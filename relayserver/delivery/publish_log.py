"""Every node delivers the log in its order and without gaps.

Numbers have no gaps and become visible in order (`messaging.models.RelayLog`), so a node
knows what it has not heard of: a tick of another node that is still on its way, or that
Redis lost. For the first it waits a moment, then it reads the table.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from relayserver.storage.store import StoreUnavailable

if TYPE_CHECKING:
    from relayserver.delivery.topics import TopicTable
    from relayserver.metrics import Counts
    from relayserver.storage.store import Store
    from relayserver.values import Tick

logger = logging.getLogger(__name__)

# How long another node's tick may be on its way through Redis.
PATIENCE_S = 0.05
# How often the head is compared, for a last tick that got lost and had no follower.
WATCH_S = 2.0
RETRY_S = 0.2
# With more than this in hand, what is missing is read, not waited for.
MAX_QUEUE_LENGTH = 1_000


class PublishLog:
    def __init__(self, store: Store, topics: TopicTable, counts: Counts) -> None:
        self._store = store
        self._topics = topics
        self._counts = counts
        # Everything up to here was delivered; None until the database told the head.
        self._seen: int | None = None
        self._early: dict[int, Tick] = {}
        self._missing = asyncio.Event()
        self._missing.set()
        self._begun = asyncio.Event()
        self.database_is_up = False

    @property
    def seen(self) -> int:
        return self._seen or 0

    async def begun(self) -> None:
        """Wait until every later tick is sure to be delivered."""
        await self._begun.wait()

    def offer(self, tick: Tick) -> None:
        """A committed tick, of this node or another, as soon as it is known."""
        if self._seen is None or tick.last <= self._seen:
            return  # served from the table already, or before this node began
        if tick.first == self._seen + 1:
            self._deliver(tick)
            self._deliver_early()
        else:
            self._early[tick.first] = tick
            self._missing.set()

    def look(self) -> None:
        """Something may have been missed: compare with the table soon."""
        self._missing.set()

    async def run(self) -> None:
        """Read from the table what did not arrive."""
        while True:
            try:
                async with asyncio.timeout(WATCH_S):
                    await self._missing.wait()
            except TimeoutError:
                pass
            self._missing.clear()
            await self._follow()

    async def _follow(self) -> None:
        try:
            head = await self._store.head()
            self._database_is(up=True)
            if self._seen is None or head < self._seen:
                self._begin_at(head)
            elif head > self._seen and await self._is_still_missing(head):
                await self._catch_up(head)
        except StoreUnavailable as error:
            self._database_is(up=False, reason=str(error))
            await asyncio.sleep(RETRY_S)
            self._missing.set()

    def _database_is(self, *, up: bool, reason: str = "") -> None:
        if up is self.database_is_up:
            return
        if not up:
            logger.warning("the database is away", extra={"reason": reason})
        elif self._begun.is_set():
            logger.warning("the database is back")
        self.database_is_up = up

    def _begin_at(self, head: int) -> None:
        if self._seen is not None:
            logger.warning("the log begins anew", extra={"head": head})
        self._seen = head
        self._early.clear()
        self._begun.set()

    async def _is_still_missing(self, head: int) -> bool:
        if len(self._early) < MAX_QUEUE_LENGTH:
            await asyncio.sleep(PATIENCE_S)
        return self.seen < head

    async def _catch_up(self, head: int) -> None:
        """Serve (seen, head] from the table. What is offered meanwhile queues behind."""
        self._counts.catch_ups += 1
        while True:
            page = await self._store.between(self.seen, head, self._topics.topics())
            # What was missing may have arrived meanwhile.
            self._topics.deliver(each for each in page.messages if each.id > self.seen)
            if not page.cut:
                break
            self._seen = max(page.messages[-1].id, self.seen)
        self._seen = max(head, self.seen)
        self._deliver_early()

    def _deliver(self, tick: Tick) -> None:
        self._seen = tick.last
        self._topics.deliver(tick.messages)

    def _deliver_early(self) -> None:
        """Serve the ticks that waited, as far as they now follow."""
        if not self._early:
            return
        for first in sorted(self._early):
            tick = self._early[first]
            if tick.last > self.seen:
                if tick.first != self.seen + 1:
                    self._missing.set()
                    return
                self._deliver(tick)
            del self._early[first]
