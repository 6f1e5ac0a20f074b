"""Acknowledgements, written in batches.

They are not urgent: a crash before they are written makes the relay repeat messages,
which clients drop. Only whoever reads a mailbox waits until they are written.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from relayserver.storage.store import StoreUnavailable
from relayserver.values import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relayserver.delivery.topics import TopicLink
    from relayserver.storage.store import Store

logger = logging.getLogger(__name__)

# Long enough for a row to stand for many acknowledgements.
INTERVAL_S = 0.1
RETRY_S = 1.0


class Acknowledgements:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed: set[TopicLink] = set()
        # What could not be written, or came from a fetch, by topic and client.
        self._kept: dict[tuple[str, str], Progress] = {}
        self._something = asyncio.Event()
        self._writing = asyncio.Lock()

    def changed(self, link: TopicLink) -> None:
        """The client acknowledged something of this link's."""
        self._changed.add(link)
        self._something.set()

    def fetched(self, client: str, through: dict[str, int]) -> None:
        """The client was given these topics up to these messages: that acknowledges."""
        for topic, id_ in through.items():
            self._keep(Progress(topic, client, id_, (), tidy=True))
        self._something.set()

    async def settle(self) -> None:
        """Write what was acknowledged until now, or raise `StoreUnavailable`."""
        async with self._writing:
            if self._changed or self._kept:
                await self._write()

    async def run(self) -> None:
        """Write every `INTERVAL_S`, as long as there is something."""
        while True:
            await self._something.wait()
            await asyncio.sleep(INTERVAL_S)
            self._something.clear()
            try:
                await self.settle()
            except StoreUnavailable:
                self._something.set()
                await asyncio.sleep(RETRY_S)

    async def _write(self) -> None:
        changed, self._changed = self._changed, set()
        for link in changed:
            self._keep(link.progress())
        kept, self._kept = self._kept, {}
        try:
            await self._store.record(list(kept.values()))
        except BaseException:
            self._keep_again(kept.values())
            raise

    def _keep_again(self, unwritten: Iterable[Progress]) -> None:
        later, self._kept = self._kept, {}
        for progress in (*unwritten, *later.values()):
            self._keep(progress)

    def _keep(self, progress: Progress) -> None:
        place = (progress.topic, progress.client)
        earlier = self._kept.get(place)
        self._kept[place] = _joined(earlier, progress) if earlier else progress


def _joined(one: Progress, other: Progress) -> Progress:
    return Progress(
        one.topic,
        one.client,
        max(one.through, other.through),
        one.beyond + other.beyond,
        one.tidy or other.tidy,
    )
