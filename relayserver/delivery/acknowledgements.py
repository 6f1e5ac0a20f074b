"""Acknowledgements, written in batches.

They are not urgent: after a crash before they are written, the relay repeats messages,
which clients drop. Only reading a mailbox waits until they are written.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from relayserver.storage.store import StoreUnavailable
from relayserver.values import Progress

if TYPE_CHECKING:
    from relayserver.delivery.topics import TopicLink
    from relayserver.storage.store import Store

logger = logging.getLogger(__name__)

# Long enough for one cursor update to replace many acknowledgements.
INTERVAL_S = 0.1
RETRY_S = 1.0


class Acknowledgements:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed: set[TopicLink] = set()
        # Not written yet, by topic and client: after an error, or from a fetch.
        self._kept: dict[tuple[str, str], Progress] = {}
        self._something = asyncio.Event()
        self._writing = asyncio.Lock()

    def changed(self, link: TopicLink) -> None:
        """The client acknowledged deliveries of this link."""
        self._changed.add(link)
        self._something.set()

    def fetched(self, client: str, through: dict[str, int]) -> None:
        """A fetch acknowledges the messages that it returned."""
        for topic, id_ in through.items():
            self._keep(Progress(topic, client, id_, (), tidy=True))
        self._something.set()

    async def settle(self) -> None:
        """Write all acknowledgements until now, or raise `StoreUnavailable`."""
        async with self._writing:
            changed, self._changed = self._changed, set()
            for link in changed:
                self._keep(link.progress())
            kept, self._kept = self._kept, {}
            if not kept:
                return
            try:
                await self._store.record(list(kept.values()))
            except BaseException:
                later, self._kept = self._kept, kept
                for progress in later.values():
                    self._keep(progress)
                raise

    async def run(self) -> None:
        """Write every `INTERVAL_S` while there are acknowledgements."""
        while True:
            await self._something.wait()
            await asyncio.sleep(INTERVAL_S)
            self._something.clear()
            try:
                await self.settle()
            except StoreUnavailable:
                self._something.set()
                await asyncio.sleep(RETRY_S)

    def _keep(self, progress: Progress) -> None:
        key = (progress.topic, progress.client)
        earlier = self._kept.get(key)
        if earlier is not None:
            progress = progress._replace(
                through=max(earlier.through, progress.through),
                beyond=earlier.beyond + progress.beyond,
                tidy=earlier.tidy or progress.tidy,
            )
        self._kept[key] = progress
