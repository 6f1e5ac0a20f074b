"""A party's life at the relay: hold its lock, connect, run a session, begin again."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

import psycopg
from django.db import Error as DjangoDatabaseError
from psycopg_pool import PoolTimeout
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from groundwork import clock, entropy
from relay.gateway.connection import RelayRefused, RelaySilent, open_connection
from relay.gateway.inbox import InboxWriter
from relay.gateway.keys import client_key
from relay.gateway.publisher import Publisher
from relay.gateway.running import cancel, first_to_end, until_done
from relay.gateway.topics import TopicKeeper
from relay.gateway.wakes import Waker
from relay.outbox import outbox_channel, topics_channel

if TYPE_CHECKING:
    from datetime import datetime

    from relay.gateway.connection import RelayAddress, RelayConnection
    from relay.gateway.database import Database, DjangoThread, PartyLock
    from relay.gateway.inbox import TaskStarter
    from relay.gateway.wakes import WakeListener
    from relay.models import Party
    from walletconnect.crypto.signing import IdentityKey

logger = logging.getLogger(__name__)

SCAN_S: Final = 2.0
HEARTBEAT_S: Final = 5.0
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
    RelaySilent,
    RelayRefused,
    psycopg.Error,
    PoolTimeout,
    DjangoDatabaseError,
)

_SEEN = """
UPDATE relay_partyclient SET last_seen_at = %(now)s, connected_since = %(since)s
WHERE party = %(party)s
"""

_OVERDUE = """
SELECT 1 FROM relay_inboxmessage
WHERE party = %(party)s AND state = 'due' AND leased_until IS NULL
    AND next_attempt_at <= %(now)s LIMIT 1
"""


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
class Surroundings:
    """What the parties of one gateway share."""

    address: RelayAddress
    largest_frame: int
    database: Database
    django: DjangoThread
    starter: TaskStarter
    wakes: WakeListener
    stopping: asyncio.Event


class PartyGateway:
    """Speaks for one party until it is stopped."""

    def __init__(self, party: Party, around: Surroundings) -> None:
        self.party = party
        self._around = around
        self._outbox = around.wakes.waker(outbox_channel(party))
        self._topics = around.wakes.waker(topics_channel(party))
        self._connected_since: datetime | None = None
        self._changed = Waker()

    async def run(self) -> None:
        back_off = BackOff(0.5, 10.0)
        while not self._around.stopping.is_set():
            try:
                async with self._around.database.party_lock(self.party) as lock:
                    back_off.reset()
                    key = await self._around.django.run(client_key, self.party)
                    await first_to_end(self._keep_lock(lock), self._stay_connected(key))
            except TROUBLE as error:
                logger.warning(
                    "%s lost its lock: %s", self.party.value, type(error).__name__
                )
                await back_off.wait()

    async def _keep_lock(self, lock: PartyLock) -> NoReturn:
        """Say that we live, on the lock's own connection; fails when the lock is lost."""
        while True:
            self._changed.clear()
            await lock.execute(
                _SEEN,
                {
                    "party": self.party.value,
                    "now": clock.now(),
                    "since": self._connected_since,
                },
            )
            await self._changed.wait(HEARTBEAT_S)

    async def _stay_connected(self, key: IdentityKey) -> None:
        back_off, refused = BackOff(0.5, 30.0), BackOff(5.0, 300.0)
        while not self._around.stopping.is_set():
            started = clock.monotonic()
            pause = back_off
            try:
                async with open_connection(
                    self._around.address, key, largest_frame=self._around.largest_frame
                ) as connection:
                    await self._session(connection)
            except TROUBLE as error:
                self._log_end(error)
                pause = refused if _is_refusal(error) else back_off
            finally:
                self._connected_since = None
                self._changed.set()
            if self._around.stopping.is_set():
                return
            if clock.monotonic() - started > STEADY_S:
                back_off.reset()
                refused.reset()
            await self._around.database.forget_broken()
            await pause.wait()

    async def _session(self, connection: RelayConnection) -> None:
        """Work over one connection until it fails, or until we are to stop."""
        around = self._around
        inbox = InboxWriter(
            self.party, around.database, connection=connection, starter=around.starter
        )
        publisher = Publisher(self.party, around.database, connection=connection)
        topics = TopicKeeper(
            self.party, around.database, connection=connection, django=around.django
        )
        self._connected_since = clock.now()
        self._changed.set()
        logger.info("%s is connected to the relay", self.party.value)
        writing = [
            asyncio.create_task(self._publish(publisher)),
            asyncio.create_task(self._keep_topics(topics)),
        ]
        reading = [
            asyncio.create_task(connection.read(inbox.on_request)),
            asyncio.create_task(inbox.run()),
            asyncio.create_task(self._find_overdue()),
        ]
        try:
            await until_done(writing, reading)
            reading[0].cancel()
            await inbox.store_collected()
            await connection.close()
        finally:
            await cancel([*writing, *reading])

    async def _publish(self, publisher: Publisher) -> None:
        while not self._around.stopping.is_set():
            self._outbox.clear()
            if not await publisher.publish_due():
                await self._outbox.wait(SCAN_S)

    async def _keep_topics(self, topics: TopicKeeper) -> None:
        count = await topics.subscribe_all()
        logger.info("%s hears %d topics", self.party.value, count)
        while not self._around.stopping.is_set():
            self._topics.clear()
            if not await topics.settle_pending():
                await self._topics.wait(SCAN_S)

    async def _find_overdue(self) -> NoReturn:
        """Start workers on what nobody was told of, or what waited for its next try."""
        while True:
            await asyncio.sleep(SCAN_S)
            parameters = {"party": self.party.value, "now": clock.now()}
            if await self._around.database.fetch(_OVERDUE, parameters):
                self._around.starter.start()

    @property
    def is_connected(self) -> bool:
        return self._connected_since is not None

    def wake(self) -> None:
        """Let no loop sleep on: there is something new, or we are to stop."""
        self._outbox.set()
        self._topics.set()

    def _log_end(self, error: Exception) -> None:
        if self._around.stopping.is_set():
            return
        text = type(error).__name__
        if isinstance(error, ConnectionClosed) and error.rcvd is not None:
            text = f"closed with {error.rcvd.code} {error.rcvd.reason[:100]!r}"
        logger.warning("%s lost the relay: %s", self.party.value, text)


def _is_refusal(error: Exception) -> bool:
    """The relay does not want us: not worth asking every second."""
    if isinstance(error, ConnectionClosed):
        return error.rcvd is not None and error.rcvd.code == REFUSED
    return isinstance(error, InvalidStatus) and error.response.status_code in REFUSALS
