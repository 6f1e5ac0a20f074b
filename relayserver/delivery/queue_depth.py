"""The limit on what waits unread in a topic (reliability.md, limits).

Unread is what lies beyond the farthest acknowledgement of any client: a topic that
somebody reads never fills, whatever its messages' TTL. Counting is left to the database,
and rarely done: this process only adds up what it writes, and asks when that sum says
"full" or when it does not know the topic.
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

REMEMBERED_TOPICS = 100_000
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
        self._most_messages = messages
        self._most_bytes = size
        self._unread: OrderedDict[str, Unread] = OrderedDict()
        self._unknown: set[str] = set()
        self._something = asyncio.Event()

    async def full_topics(self, topics: Set[str]) -> Set[str]:
        """Those that take no more. Asks the database only about those that look full."""
        suspects = {topic for topic in topics if self._is_full(topic)}
        if suspects:
            await self._count(suspects)
        return {topic for topic in suspects if self._is_full(topic)}

    def grew(self, drafts: Iterable[Draft]) -> None:
        """These were written (or were there already, which the next count puts right)."""
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
        """Learn how full the topics are that were unknown when they were written to."""
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
            unread.messages >= self._most_messages or unread.bytes >= self._most_bytes
        )

    async def _count(self, topics: Set[str]) -> None:
        try:
            await self._acknowledgements.settle()
            counted = await self._store.unread(topics, most=self._most_messages)
        except StoreUnavailable as error:
            # The limit protects the service; it must not be what breaks it.
            logger.warning("topics not counted", extra={"reason": str(error)})
            counted = {topic: Unread(0, 0) for topic in topics}
        for topic, unread in counted.items():
            self._remember(topic, unread)

    def _remember(self, topic: str, unread: Unread) -> None:
        self._unread[topic] = unread
        self._unread.move_to_end(topic)
        if len(self._unread) > REMEMBERED_TOPICS:
            self._unread.popitem(last=False)
