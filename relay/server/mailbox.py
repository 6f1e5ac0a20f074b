"""What the relay kept for a client: delivered after it subscribed, or fetched.

Spec: protocol.md, 8.2 and 8.3. The first kept message follows the answer to the subscribe
request after a pause: clients that read both in one burst hand the messages on in disorder.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from relay.server.store import StoreUnavailable
from relay.server.values import Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from relay.server.acks import Acknowledgements
    from relay.server.counts import Counts
    from relay.server.publish_log import PublishLog
    from relay.server.session import Session
    from relay.server.store import Store
    from relay.server.topics import TopicLink
    from relay.server.values import Page
    from walletconnect.crypto.keys import Topic

PAUSE_S = 0.075
PAGE_BYTES = 384 * 1024
TOPICS_AT_ONCE = 500
# Pages that are read for different sessions at one time.
READERS = 3
RETRY_S = (0.2, 0.5, 1.0, 2.0)


class Mailbox:
    def __init__(
        self,
        store: Store,
        acknowledgements: Acknowledgements,
        *,
        log: PublishLog,
        counts: Counts,
    ) -> None:
        self._store = store
        self._acknowledgements = acknowledgements
        self._log = log
        self._counts = counts
        self._readers = asyncio.Semaphore(READERS)
        self._serving: dict[Session, asyncio.Task[None]] = {}

    def serve_after_pause(self, session: Session, links: Sequence[TopicLink]) -> None:
        """Deliver what is kept on these topics, then let live messages through."""
        if links:
            loop = asyncio.get_running_loop()
            loop.call_later(PAUSE_S, self._serve, session, links)

    def forget(self, session: Session) -> None:
        task = self._serving.pop(session, None)
        if task is not None:
            task.cancel()

    async def fetch(
        self, client: str, topics: Iterable[Topic]
    ) -> tuple[Page, dict[str, int]]:
        """A page, and how far it goes in each topic: what to acknowledge once it is sent.

        Raises `StoreUnavailable`.
        """
        page = await self._read(client, [Wanted(topic, 0) for topic in topics])
        return page, {message.topic: message.id for message in page.messages}

    def _serve(self, session: Session, links: Sequence[TopicLink]) -> None:
        if session.is_open:
            session.unserved.extend(links)
            if session not in self._serving:
                task = asyncio.create_task(self._serve_session(session))
                self._serving[session] = task
                task.add_done_callback(lambda _: self._serving.pop(session, None))

    async def _serve_session(self, session: Session) -> None:
        failures = 0
        while session.unserved and session.is_open:
            links = session.unserved[:TOPICS_AT_ONCE]
            del session.unserved[:TOPICS_AT_ONCE]
            links = [link for link in links if session.holds(link)]
            try:
                again = await self._serve_page(session, links)
                failures = 0
            except StoreUnavailable:
                again = links
                for link in links:
                    link.stop_reading()
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1
            session.unserved.extend(again)
            await session.outlet.drained()

    async def _serve_page(
        self, session: Session, links: list[TopicLink]
    ) -> list[TopicLink]:
        """Deliver one page; the links that need another one."""
        await self._log.begun()
        for link in links:
            link.begin_reading()
        wanted = [Wanted(link.topic, link.last) for link in links]
        page = await self._read(session.client, wanted)
        held: dict[str, TopicLink] = {
            link.topic: link for link in links if session.holds(link)
        }
        for message in page.messages:
            if message.topic in held:
                held[message.topic].deliver_kept(message)
        # A cut page is complete for the topics before that of its last message.
        last = page.messages[-1].topic if page.cut else None
        is_complete = last is None
        again: list[TopicLink] = []
        for link in reversed(links):
            if session.holds(link) and not (is_complete and link.go_live()):
                link.stop_reading()
                again.append(link)
            is_complete = is_complete or link.topic == last
        return again[::-1]

    async def _read(self, client: str, wanted: Sequence[Wanted]) -> Page:
        async with self._readers:
            await self._acknowledgements.settle()
            page = await self._store.page(client, wanted, budget=PAGE_BYTES)
        self._counts.pages_read += 1
        return page
