"""Delivers the log in order and without gaps on every node.

Numbers have no gaps and become visible in order (`relayserver.models.RelayLog`), so a node
detects a missing tick of another node. It may still arrive, so the node waits `GRACE_S`,
then reads the table.
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

# How long another node's tick may take through Redis before the table is read.
GRACE_S = 0.05
# Interval of comparing the head: a lost last tick shows no gap.
COMPARE_INTERVAL_S = 2.0
RETRY_S = 0.2
# With more early ticks than this, the table is read at once.
MAX_QUEUE_LENGTH = 1_000


class PublishLog:
    def __init__(self, store: Store, topics: TopicTable, counts: Counts) -> None:
        self._store = store
        self._topics = topics
        self._counts = counts
        # The last delivered number; None until the head was read from the database.
        self._seen: int | None = None
        self._early: dict[int, Tick] = {}
        self._missing = asyncio.Event()
        self._missing.set()
        # Whether ticks may be missing although none has come early.
        self._must_compare = True
        self._begun = asyncio.Event()
        self.database_is_up = False

    @property
    def seen(self) -> int:
        return self._seen or 0

    async def begun(self) -> None:
        """Wait until the head is known, from which on every tick is delivered."""
        await self._begun.wait()

    def offer(self, tick: Tick) -> None:
        """Deliver a committed tick of this or another node, in order."""
        if self._seen is None or tick.last <= self._seen:
            return  # delivered from the table already, or before this node started
        if tick.first == self._seen + 1:
            self._deliver(tick)
            self._deliver_early()
        else:
            self._early[tick.first] = tick
            self._missing.set()

    def compare_soon(self) -> None:
        """Compare with the table soon, because ticks may be missing."""
        self._must_compare = True
        self._missing.set()

    async def run(self) -> None:
        """Read missing ticks from the table.

        Two busy nodes receive their own tick before an earlier one of the other all the time,
        so the table is not asked before that had time to arrive.
        """
        while True:
            try:
                async with asyncio.timeout(COMPARE_INTERVAL_S):
                    await self._missing.wait()
            except TimeoutError:
                self._must_compare = True
            self._missing.clear()
            seen = self._seen
            if self._early and len(self._early) < MAX_QUEUE_LENGTH:
                await asyncio.sleep(GRACE_S)
            if self._must_compare or (self._early and self._seen == seen):
                self._must_compare = False
                await self._follow()
            elif self._early:
                self._missing.set()

    async def _follow(self) -> None:
        # Ticks that are delivered during the query make its result an old one: only a head
        # below the number from before it means that the table was emptied.
        seen_before = self._seen
        try:
            head = await self._store.head()
            self._database_is(up=True)
            if seen_before is None or head < seen_before:
                if seen_before is not None:
                    logger.warning("the log starts anew", extra={"head": head})
                self._seen = head
                self._early.clear()
                self._begun.set()
            elif head > self.seen:
                if not self._early:
                    await asyncio.sleep(GRACE_S)
                if head > self.seen:
                    await self._catch_up(head)
        except StoreUnavailable as error:
            self._database_is(up=False, reason=str(error))
            await asyncio.sleep(RETRY_S)
            self.compare_soon()

    def _database_is(self, *, up: bool, reason: str = "") -> None:
        if up is self.database_is_up:
            return
        if not up:
            logger.warning("the database is unavailable", extra={"reason": reason})
        elif self._begun.is_set():
            logger.warning("the database is available again")
        self.database_is_up = up

    async def _catch_up(self, head: int) -> None:
        """Deliver (seen, head] from the table. Ticks offered meanwhile queue behind."""
        self._counts.catch_ups += 1
        while True:
            page = await self._store.between(self.seen, head, self._topics.topics())
            # Missing ticks may have arrived meanwhile.
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
        """Deliver early ticks that now follow without a gap."""
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
