"""A lane: one relay client of a party, its connection, and the work of a session.

A lane serves a range of shards of its party, with its own key and connection.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg
from django.db import Error as DjangoDatabaseError
from psycopg_pool import PoolTimeout
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from common import clock, entropy
from messaging.gateway.connection import RelayRefused, RelayTimeout, open_connection
from messaging.gateway.inbox import InboxWriter
from messaging.gateway.publisher import Publisher
from messaging.gateway.running import cancel, until_done
from messaging.gateway.topics import TooManyTopics, TopicSubscriber
from messaging.gateway.wakes import WakeEvent

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from datetime import datetime

    from messaging.gateway.connection import RelayAddress, RelayConnection
    from messaging.gateway.database import Database, DjangoThread
    from messaging.gateway.due_rows import DueRows
    from messaging.gateway.inbox import TaskStarter
    from messaging.gateway.keys import LaneIdentity
    from messaging.gateway.wakes import WakeListener
    from messaging.models import Party

logger = logging.getLogger(__name__)

# Without a wake-up; `_FIND_PENDING` of the party looks more often.
SCAN_S: Final = 30.0
# A session that lasted this long resets the back-off.
STEADY_S: Final = 10.0
REFUSED: Final = 3000
REFUSALS: Final = frozenset({400, 401, 403, 404})

# Errors that end a session and are followed by another attempt.
SESSION_ERRORS: Final = (
    ConnectionClosed,
    InvalidHandshake,
    OSError,
    TimeoutError,
    RelayTimeout,
    RelayRefused,
    psycopg.Error,
    PoolTimeout,
    DjangoDatabaseError,
)


class BackOff:
    """Pauses between attempts: doubling, capped, with jitter."""

    def __init__(self, first_s: float, max_s: float) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._next_s = first_s

    def reset(self) -> None:
        self._next_s = self._first_s

    async def wait(self) -> None:
        pause, self._next_s = self._next_s, min(self._max_s, self._next_s * 2)
        await asyncio.sleep(entropy.jitter(pause, share=0.5))


@dataclass(frozen=True, slots=True)
class GatewayContext:
    """Shared by the parties of one gateway process."""

    address: RelayAddress
    largest_frame: int
    topics_per_lane: int
    database: Database
    django: DjangoThread
    starter: TaskStarter
    wakes: WakeListener
    # Times in the outbox, added to Redis with the heartbeat.
    durations: Counter[str]
    stopping: asyncio.Event
    # Limits how many lanes subscribe all of their topics at the same time.
    starting: asyncio.Semaphore


@dataclass(frozen=True, slots=True)
class PartyContext:
    """Shared by the lanes of one party."""

    party: Party
    due_rows: DueRows
    # Called when a lane has connected, lost its connection, or has too many topics.
    changed: Callable[[], None]


class Lane:
    """Stays connected to the relay as one client."""

    def __init__(
        self, identity: LaneIdentity, *, of: PartyContext, context: GatewayContext
    ) -> None:
        self.number = identity.number
        self.shards = identity.shards
        self.connected_since: datetime | None = None
        self.has_too_many_topics = False
        self._name = f"{of.party.value} {identity.number}"
        self._key = identity.key
        self._of = of
        self._context = context
        self._stopping = asyncio.Event()
        self._topics = WakeEvent()

    def stop(self) -> None:
        """Finish the work under way and end ``stay_connected``."""
        self._stopping.set()
        self._of.due_rows.withdraw(self.number)
        self._topics.set()

    def settle_topics(self) -> None:
        """Topics of the lane were changed."""
        self._topics.set()

    async def stay_connected(self) -> None:
        """Connect, work and reconnect until the lane is stopped."""
        context = self._context
        back_off, refused = BackOff(0.5, 30.0), BackOff(5.0, 300.0)
        while not self._stopping.is_set():
            started = clock.monotonic()
            pause = back_off
            try:
                async with open_connection(
                    context.address, self._key, largest_frame=context.largest_frame
                ) as connection:
                    await self._session(connection)
            except SESSION_ERRORS as error:
                text = type(error).__name__
                if isinstance(error, ConnectionClosed) and error.rcvd is not None:
                    text = f"closed with {error.rcvd.code} {error.rcvd.reason[:100]!r}"
                if not self._stopping.is_set():
                    logger.warning("%s lost the relay: %s", self._name, text)
                # A relay that rejects our key or project will do so again in a second.
                pause = refused if _is_refusal(error) else back_off
            finally:
                self.connected_since = None
                self._of.changed()
            if self._stopping.is_set():
                return
            if clock.monotonic() - started > STEADY_S:
                back_off.reset()
                refused.reset()
            await context.database.forget_broken()
            await pause.wait()

    async def _session(self, connection: RelayConnection) -> None:
        """Work over one connection until it fails or the lane is stopped."""
        party, database = self._of.party, self._context.database
        inbox = InboxWriter(
            party, database, connection=connection, starter=self._context.starter
        )
        topics = TopicSubscriber(
            party,
            database,
            shards=self.shards,
            max_topics=self._context.topics_per_lane,
            connection=connection,
            django=self._context.django,
        )
        self.connected_since = clock.now()
        self._of.changed()
        logger.info("%s is connected to the relay", self._name)
        writing = [
            asyncio.create_task(
                self._publish(
                    Publisher(
                        party, database, connection, durations=self._context.durations
                    )
                )
            ),
            asyncio.create_task(self._maintain_topics(topics)),
        ]
        reading = [
            asyncio.create_task(connection.read(inbox.on_request)),
            asyncio.create_task(inbox.run()),
        ]
        try:
            await until_done(writing, reading)
            reading[0].cancel()
            await inbox.store_collected()
            await connection.close()
        finally:
            await cancel([*writing, *reading])

    async def _publish(self, publisher: Publisher) -> None:
        while not self._stopping.is_set():
            await publisher.publish(
                await self._of.due_rows.take(self.number, self.shards)
            )

    async def _maintain_topics(self, topics: TopicSubscriber) -> None:
        try:
            async with self._context.starting:
                count = await topics.subscribe_all(self._stopping.is_set)
            logger.info("%s subscribed %d topics", self._name, count)
            while not self._stopping.is_set():
                self._topics.clear()
                if not await topics.settle_pending():
                    await self._topics.wait(SCAN_S)
        except TooManyTopics:
            self.has_too_many_topics = True
            self._of.changed()
            await self._stopping.wait()


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, ConnectionClosed):
        return error.rcvd is not None and error.rcvd.code == REFUSED
    return isinstance(error, InvalidStatus) and error.response.status_code in REFUSALS
