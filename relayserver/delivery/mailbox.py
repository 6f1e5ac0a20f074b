"""Stored messages of a client: delivered after it subscribed, or fetched.

The first stored message follows the answer to the subscribe request after `PAUSE_S`. A
topic without stored messages is live as soon as that is known; only a second message waits
for the end of the pause.
"""

from __future__ import annotations

import asyncio
from itertools import takewhile
from typing import TYPE_CHECKING

from relayserver.storage.store import StoreUnavailable
from relayserver.values import NEVER_JOINED, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from relayserver.connections.session import Session
    from relayserver.delivery.acknowledgements import Acknowledgements
    from relayserver.delivery.publish_log import PublishLog
    from relayserver.delivery.topics import TopicLink
    from relayserver.metrics import Counts
    from relayserver.storage.store import Store
    from relayserver.values import KeptMessage, Page
    from walletconnect.crypto.keys import Topic

# `@walletconnect/core` 2.10 and 2.12 poll every 20 ms for an unsettled subscription, so that
# messages read in one burst with the answer are delayed and overtaken: out of order in 6 of
# 25 tries without a pause, in none with any pause on loopback. 75 ms, several polls, leave
# room for a slow connection.
PAUSE_S = 0.075
PAGE_BYTES = 512 * 1024
TOPIC_BATCH_SIZE = 500
# Concurrent page reads; more would take the pool from ticks and acknowledgements.
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

    def serve(self, session: Session, links: Sequence[TopicLink]) -> None:
        """Deliver the stored messages of these topics, then switch them to live.

        To be called when the answer to the subscribe request was written to the socket.
        """
        pause_until = asyncio.get_running_loop().time() + PAUSE_S
        for link in links:
            link.pause_until = pause_until
        self._serve(session, links)

    def forget(self, session: Session) -> None:
        task = self._serving.pop(session, None)
        if task is not None:
            task.cancel()

    async def fetch(
        self, client: str, topics: Iterable[Topic]
    ) -> tuple[Page, dict[str, int]]:
        """Returns a page and its last message per topic, to acknowledge once it is sent.

        Raises `StoreUnavailable`.
        """
        wanted = [Wanted(topic, 0, NEVER_JOINED) for topic in topics]
        page = await self._read(client, wanted)
        return page, {message.topic: message.id for message in page.messages}

    def _serve(self, session: Session, links: Sequence[TopicLink]) -> None:
        if links and session.is_open:
            session.unserved.extend(links)
            if session not in self._serving:
                task = asyncio.create_task(self._serve_session(session))
                self._serving[session] = task

    async def _serve_session(self, session: Session) -> None:
        try:
            await self._serve_pages(session)
        finally:
            # Not in a done callback of the task: links that are added before the callback
            # runs would not be served.
            self._serving.pop(session, None)

    async def _serve_pages(self, session: Session) -> None:
        failures = 0
        while session.unserved and session.is_open:
            links = session.unserved[:TOPIC_BATCH_SIZE]
            del session.unserved[:TOPIC_BATCH_SIZE]
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
            await session.transport.drained()

    async def _serve_page(
        self, session: Session, links: list[TopicLink]
    ) -> list[TopicLink]:
        """Deliver one page; returns the links that need another one."""
        await self._log.begun()
        for link in links:
            link.joined_at = link.joined_at or self._log.seen
            link.begin_reading()
        wanted = [Wanted(link.topic, link.last, link.joined_at) for link in links]
        page = await self._read(session.client, wanted)
        kept: dict[str, list[KeptMessage]] = {}
        for message in page.messages:
            kept.setdefault(message.topic, []).append(message)
        # A cut page is complete for the topics before that of its last message.
        last = page.messages[-1].topic if page.cut else None
        complete = list(takewhile(lambda link: link.topic != last, links))
        rest = links[len(complete) :]
        for link in rest:
            link.stop_reading()
        now = asyncio.get_running_loop().time()
        early = {
            link
            for link in complete
            if link.pause_until > now and _is_new(link, kept.get(link.topic))
        }
        self._open(session, early, kept)
        full = [link for link in links if link.topic in kept and link not in early]
        pause_until = max((link.pause_until for link in full), default=0.0)
        await asyncio.sleep(pause_until - asyncio.get_running_loop().time())
        full = [link for link in full if session.holds(link)]
        for link in full:
            for message in kept[link.topic]:
                link.deliver_kept(message)
        served = [link for link in complete if link not in early]
        return [*_go_live(session, served), *filter(session.holds, rest)]

    def _open(
        self,
        session: Session,
        links: Iterable[TopicLink],
        published: Mapping[str, Sequence[KeptMessage]],
    ) -> None:
        """Open topics without stored messages before the end of the pause."""
        held = [link for link in links if session.holds(link)]
        for link in held:
            link.open(published.get(link.topic, ()))
        if held:
            until = max(link.pause_until for link in held)
            loop = asyncio.get_running_loop()
            loop.call_at(until, self._end_pause, session, held)

    def _end_pause(self, session: Session, links: Sequence[TopicLink]) -> None:
        self._serve(session, _go_live(session, links))

    async def _read(self, client: str, wanted: Sequence[Wanted]) -> Page:
        async with self._readers:
            await self._acknowledgements.settle()
            page = await self._store.page(client, wanted, budget=PAGE_BYTES)
        self._counts.pages_read += 1
        return page


def _go_live(session: Session, links: Iterable[TopicLink]) -> list[TopicLink]:
    """Returns the links that have missed messages meanwhile and need another page."""
    return [link for link in links if session.holds(link) and not link.go_live()]


def _is_new(link: TopicLink, page: Sequence[KeptMessage] | None) -> bool:
    """Whether the page has only messages that were published after the link subscribed."""
    return not page or page[0].id > link.joined_at
