"""One relay node without its front end: owns the parts and their background tasks.

Frames come in through `Session.receive` and go out through a `Transport`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter
from typing import TYPE_CHECKING

from common.clients import is_limited
from relayserver.connections.session import Session
from relayserver.delivery.acknowledgements import Acknowledgements
from relayserver.delivery.mailbox import Mailbox
from relayserver.delivery.nodes import Nodes
from relayserver.delivery.publish_log import PublishLog
from relayserver.delivery.publishing import Publishing
from relayserver.delivery.queue_depth import QueueDepth
from relayserver.delivery.topics import TopicTable
from relayserver.metrics import Counts
from relayserver.storage.store import Store, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from common.limits import Limits
    from relayserver.connections.transport import Transport
    from relayserver.delivery.topics import TopicLink
    from relayserver.values import Tick

logger = logging.getLogger(__name__)

LAST_WRITE_S = 5.0
LAST_CANCEL_S = 0.5


class Hub:
    def __init__(
        self, *, database: Mapping[str, Any], redis_url: str, limits: Limits
    ) -> None:
        self.limits = limits
        self.counts = Counts()
        self.topics = TopicTable()
        self.store = Store(database)
        self.acknowledgements = Acknowledgements(self.store)
        self.log = PublishLog(self.store, self.topics, self.counts)
        self.nodes = Nodes(
            redis_url,
            _channel(database),
            log=self.log,
            topics=self.topics,
            counts=self.counts,
        )
        self.depth = QueueDepth(
            self.store,
            self.acknowledgements,
            messages=limits.relay_queue_messages,
            size=limits.relay_queue_bytes,
        )
        self.publishing = Publishing(
            self.store, self.depth, counts=self.counts, committed=self._committed
        )
        self.mailbox = Mailbox(
            self.store, self.acknowledgements, log=self.log, counts=self.counts
        )
        self._sessions: dict[str, set[Session]] = {}
        self._connections: Counter[str] = Counter()
        self._client_topics: Counter[str] = Counter()
        self._address_topics: Counter[str] = Counter()
        self._links = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_closing = False
        # A background task has ended, so the process must.
        self.broken = asyncio.Event()

    # Start and stop

    async def open(self) -> None:
        await self.store.open()
        for work in (
            self.log.run(),
            self.publishing.run(),
            self.acknowledgements.run(),
            self.depth.run(),
            self.nodes.listen(),
            self.nodes.publish(),
        ):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    async def finish(self) -> None:
        """Accept nothing more; write and answer pending requests."""
        self.is_closing = True
        try:
            async with asyncio.timeout(LAST_WRITE_S):
                await self.publishing.flushed()
                await self.acknowledgements.settle()
        except (TimeoutError, StoreUnavailable):
            logger.warning("stopped without the last write")

    async def close(self) -> None:
        # Repeated, because `asyncio.wait_for` on Python 3.11, which redis-py uses, can lose
        # a cancellation.
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=LAST_CANCEL_S)
        await self.nodes.close()
        await self.store.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Background tasks never end by themselves; without one the relay must stop."""
        self._tasks.discard(task)
        if not task.cancelled():
            logger.critical("background work ended", exc_info=task.exception())
            self.broken.set()

    # Sessions

    def has_room(self, client: str, address: str) -> bool:
        """Whether one more connection is within the limits."""
        limits = self.limits
        return (
            self._connections.total() < limits.relay_connections
            and len(self._sessions.get(client, ()))
            < limits.relay_connections_per_client
            and (
                not is_limited(address)
                or self._connections[address] < limits.relay_connections_per_address
            )
        )

    def room_for_topics(self, session: Session) -> int:
        """How many more topics the session may subscribe."""
        limits = self.limits
        room = min(
            limits.relay_topics - self._links,
            limits.relay_topics_per_client - self.topics_of(session.client),
        )
        if is_limited(session.address):
            held = self._address_topics[session.address]
            room = min(room, limits.relay_topics_per_address - held)
        return max(0, room)

    def topics_of(self, client: str) -> int:
        """How many topics the client has subscribed, on all its connections."""
        return self._client_topics[client]

    def connect(
        self, client: str, transport: Transport, *, address: str = ""
    ) -> Session:
        session = Session(self, client, transport, address=address)
        self._connections[address] += 1
        self._sessions.setdefault(client, set()).add(session)
        self.counts.connections_opened += 1
        return session

    def disconnect(self, session: Session) -> None:
        session.end()
        self.mailbox.forget(session)
        self.topics.shrink()
        _decrement(self._connections, session.address)
        sessions = self._sessions[session.client]
        sessions.discard(session)
        if not sessions:
            del self._sessions[session.client]

    def add_link(self, session: Session, link: TopicLink) -> None:
        self.topics.add(link)
        self._links += 1
        self._client_topics[session.client] += 1
        self._address_topics[session.address] += 1

    def remove_link(self, session: Session, link: TopicLink) -> None:
        self.topics.remove(link)
        self._links -= 1
        _decrement(self._client_topics, session.client)
        _decrement(self._address_topics, session.address)

    def received(self, client: str, messages: Iterable[tuple[str, int]]) -> None:
        """The client acknowledged messages by their ids."""
        for topic, message_id in messages:
            for session in self._sessions.get(client, ()):
                session.received(topic, message_id)

    # State

    @property
    def knows_head(self) -> bool:
        """Whether `log.seen` is the end of the log because no other node writes to it.

        Also while the database is unavailable, which would have to be asked otherwise.
        """
        is_alone = bool(self.log.seen) and not self.nodes.others
        return is_alone or not self.log.database_is_up

    def _committed(self, tick: Tick) -> None:
        self.log.offer(tick)
        self.nodes.announce(tick)

    @property
    def is_ready(self) -> bool:
        return self.log.database_is_up

    def present(self) -> dict[str, float]:
        """The present state, for the gauges of `/metrics` and for `/health`."""
        return {
            "clients": len(self._sessions),
            "connections": sum(map(len, self._sessions.values())),
            "topics": len(self.topics),
            "topic_subscriptions": self._links,
            "log_head": self.log.seen,
            "database_up": self.log.database_is_up,
            "redis_up": self.nodes.is_up,
            "other_nodes": self.nodes.others,
        }


def _decrement(counter: Counter[str], key: str) -> None:
    """Subtract one; keys of closed connections do not stay."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _channel(database: Mapping[str, Any]) -> str:
    """One channel per database, as several systems may share a Redis."""
    name = f"{database['HOST']}|{database['PORT']}|{database['NAME']}"
    return f"relay:ticks:{hashlib.sha256(name.encode()).hexdigest()[:16]}"
