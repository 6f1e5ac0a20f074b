"""A lane: one relay client of a party, its connection, and the work of a session.

A relay limits the topics of one client, so a party with many topics has several lanes,
each with its own key and connection.
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
from messaging.gateway.publisher import LaneContext, Publisher
from messaging.gateway.running import cancel, until_done
from messaging.gateway.topics import TopicSubscriber
from messaging.outbox import outbox_channel, topics_channel

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from messaging.gateway.connection import RelayAddress, RelayConnection
    from messaging.gateway.database import Database, DjangoThread
    from messaging.gateway.inbox import TaskStarter
    from messaging.gateway.wakes import WakeListener
    from messaging.models import Party
    from walletconnect.crypto.signing import IdentityKey

logger = logging.getLogger(__name__)

SCAN_S: Final = 2.0
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
    stopping: asyncio.Event


@dataclass(frozen=True, slots=True)
class PartyContext:
    """Shared by the lanes of one party."""

    party: Party
    lanes: Callable[[], int]
    # Called when the lane has connected or lost its connection.
    changed: Callable[[], None]


class Lane:
    """Stays connected to the relay as one client."""

    def __init__(
        self,
        number: int,
        key: IdentityKey,
        *,
        of: PartyContext,
        context: GatewayContext,
    ) -> None:
        self.number = number
        self.connected_since: datetime | None = None
        self._name = f"{of.party.value} {number}"
        self._key = key
        self._of = of
        self._context = context
        self._outbox = context.wakes.event(outbox_channel(of.party))
        self._topics = context.wakes.event(topics_channel(of.party))

    def wake(self) -> None:
        """End the waits of all loops, because of new rows or a stop."""
        self._outbox.set()
        self._topics.set()

    async def stay_connected(self) -> None:
        """Connect, work and reconnect until the gateway stops."""
        context = self._context
        back_off, refused = BackOff(0.5, 30.0), BackOff(5.0, 300.0)
        while not context.stopping.is_set():
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
                if not context.stopping.is_set():
                    logger.warning("%s lost the relay: %s", self._name, text)
                # A relay that rejects our key or project will do so again in a second.
                pause = refused if _is_refusal(error) else back_off
            finally:
                self.connected_since = None
                self._of.changed()
            if context.stopping.is_set():
                return
            if clock.monotonic() - started > STEADY_S:
                back_off.reset()
                refused.reset()
            await context.database.forget_broken()
            await pause.wait()

    async def _session(self, connection: RelayConnection) -> None:
        """Work over one connection until it fails or the gateway stops."""
        party, database = self._of.party, self._context.database
        inbox = InboxWriter(
            party, database, connection=connection, starter=self._context.starter
        )
        publisher = Publisher(
            party,
            database,
            connection=connection,
            lanes=LaneContext(self.number, self._of.lanes),
        )
        topics = TopicSubscriber(
            party,
            database,
            lane=self.number,
            connection=connection,
            django=self._context.django,
        )
        self.connected_since = clock.now()
        self._of.changed()
        logger.info("%s is connected to the relay", self._name)
        writing = [
            asyncio.create_task(self._publish(publisher)),
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
        while not self._context.stopping.is_set():
            self._outbox.clear()
            if not await publisher.publish_due():
                await self._outbox.wait(SCAN_S)

    async def _maintain_topics(self, topics: TopicSubscriber) -> None:
        count = await topics.subscribe_all()
        logger.info("%s subscribed %d topics", self._name, count)
        while not self._context.stopping.is_set():
            self._topics.clear()
            if not await topics.settle_pending():
                await self._topics.wait(SCAN_S)


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, ConnectionClosed):
        return error.rcvd is not None and error.rcvd.code == REFUSED
    return isinstance(error, InvalidStatus) and error.response.status_code in REFUSALS
