"""The limit on unread messages of a topic (`relay_queue_messages`, `relay_queue_bytes`).

Unread are messages beyond the farthest acknowledgement of any client, so a topic with a
reader never fills, whatever the TTL. Counting in the database is rare: this process adds up
what it writes, and counts when that sum reaches the limit or the topic is new to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from relayserver.storage.store import StoreUnavailable, Unread

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from relayserver.delivery.acknowledgements import Acknowledgements
    from relayserver.storage.store import Store
    from relayserver.values import Draft

logger = logging.getLogger(__name__)

MAX_TOPICS = 100_000
COUNT_BATCH_SIZE = 1_000
COUNT_EVERY_S = 0.25


class QueueDepth:
    def __init__(
        self,
        store: Store,
        acknowledgements: Acknowledgements,
        *,
        messages: int,
        size: int,
    ) -> None:
        self._store = store
        self._acknowledgements = acknowledgements
        self._max_messages = messages
        self._max_bytes = size
        self._unread: OrderedDict[str, Unread] = OrderedDict()
        self._unknown: set[str] = set()
        self._something = asyncio.Event()

    async def full_topics(self, topics: Set[str]) -> Set[str]:
        """The full ones of ``topics``; counts only those that seem to be full."""
        suspects = {topic for topic in topics if self._is_full(topic)}
        if suspects:
            await self._count(suspects)
        return {topic for topic in suspects if self._is_full(topic)}

    def grew(self, drafts: Iterable[Draft]) -> None:
        """Add written drafts. Repeats are added, too; the next count corrects that."""
        for draft in drafts:
            known = self._unread.get(draft.topic)
            if known is None:
                self._unknown.add(draft.topic)
                known = Unread(0, 0)
            self._remember(
                draft.topic, Unread(known[0] + 1, known[1] + len(draft.message))
            )
        if self._unknown:
            self._something.set()

    async def run(self) -> None:
        """Count the topics that were unknown when they were written to."""
        while True:
            await self._something.wait()
            await asyncio.sleep(COUNT_EVERY_S)
            unknown = list(self._unknown)[:COUNT_BATCH_SIZE]
            self._unknown.difference_update(unknown)
            if not self._unknown:
                self._something.clear()
            await self._count(set(unknown))

    def _is_full(self, topic: str) -> bool:
        unread = self._unread.get(topic)
        return unread is not None and (
            unread.messages >= self._max_messages or unread.bytes >= self._max_bytes
        )

    async def _count(self, topics: Set[str]) -> None:
        try:
            await self._acknowledgements.settle()
            counted = await self._store.unread(topics, limit=self._max_messages)
        except StoreUnavailable as error:
            # Uncounted topics are open: the limit must not stop publishing.
            logger.warning("topics not counted", extra={"reason": str(error)})
            counted = {topic: Unread(0, 0) for topic in topics}
        for topic, unread in counted.items():
            self._remember(topic, unread)

    def _remember(self, topic: str, unread: Unread) -> None:
        self._unread[topic] = unread
        self._unread.move_to_end(topic)
        if len(self._unread) > MAX_TOPICS:
            self._unread.popitem(last=False)
