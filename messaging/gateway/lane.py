"""A lane: one relay client of a party, its connection, and the work of a session.

A relay bounds the topics of one client, so a party with many has several lanes, each
with a key and a connection of its own.
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
# A session that lived so long was a good one: the next trouble starts small again.
STEADY_S: Final = 10.0
REFUSED: Final = 3000
REFUSALS: Final = frozenset({400, 401, 403, 404})

# What ends a session or the wait for one, and is followed by another try.
TROUBLE: Final = (
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
    """Pauses between tries: doubling, capped, and never in step with others."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def reset(self) -> None:
        self._next_s = self._first_s

    async def wait(self) -> None:
        pause, self._next_s = self._next_s, min(self._longest_s, self._next_s * 2)
        await asyncio.sleep(entropy.jitter(pause, share=0.5))


@dataclass(frozen=True, slots=True)
class GatewayContext:
    """What the parties of one gateway share."""

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
    """What a lane knows of its party."""

    party: Party
    lanes: Callable[[], int]
    # Called whenever the lane connected or lost its connection.
    changed: Callable[[], None]


class Lane:
    """Stays connected to the relay as one client, and works while it is."""

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
        self._outbox = context.wakes.waker(outbox_channel(of.party))
        self._topics = context.wakes.waker(topics_channel(of.party))

    def wake(self) -> None:
        """Let no loop sleep on: there is something new, or we are to stop."""
        self._outbox.set()
        self._topics.set()

    async def stay_connected(self) -> None:
        """Connect, work, and begin again, until we are to stop."""
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
            except TROUBLE as error:
                self._log_end(error)
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
        """Work over one connection until it fails, or until we are to stop."""
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
        logger.info("%s hears %d topics", self._name, count)
        while not self._context.stopping.is_set():
            self._topics.clear()
            if not await topics.settle_pending():
                await self._topics.wait(SCAN_S)

    def _log_end(self, error: Exception) -> None:
        if self._context.stopping.is_set():
            return
        text = type(error).__name__
        if isinstance(error, ConnectionClosed) and error.rcvd is not None:
            text = f"closed with {error.rcvd.code} {error.rcvd.reason[:100]!r}"
        logger.warning("%s lost the relay: %s", self._name, text)


def _is_refusal(error: Exception) -> bool:
    """The relay does not want us: not worth asking every second."""
    if isinstance(error, ConnectionClosed):
        return error.rcvd is not None and error.rcvd.code == REFUSED
    return isinstance(error, InvalidStatus) and error.response.status_code in REFUSALS
