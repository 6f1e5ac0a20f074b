"""The gateway's way to PostgreSQL: a small pool, and one lock per party.

No ORM in the hot path. What is rare (keys, step records, starting tasks) runs as
ordinary Django code in one thread of its own (``DjangoThread``).
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, LiteralString, ParamSpec, TypeVar

import psycopg
from django.db import close_old_connections
from psycopg_pool import AsyncConnectionPool

from messaging.models import Party

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from psycopg.abc import Params
    from psycopg.rows import TupleRow

logger = logging.getLogger(__name__)

POOL_SIZE: Final = 6
POOL_WAIT_S: Final = 5.0
STATEMENT_TIMEOUT_MS: Final = 10_000
LOCK_POLL_S: Final = 1.0
# The first number says what is locked, the second for which party.
GATEWAY_LOCK: Final = 7_320
PARTY_NUMBERS: Final = {Party.WALLET: 1, Party.CAST: 2}

P = ParamSpec("P")
T = TypeVar("T")


def connection_arguments(database: Mapping[str, Any]) -> dict[str, Any]:
    """Django's description of a database, as libpq takes it."""
    options = database.get("OPTIONS", {})
    return {
        "dbname": database["NAME"],
        "host": database["HOST"],
        "port": database["PORT"],
        "user": database["USER"],
        "password": database["PASSWORD"],
        "connect_timeout": 5,
        "application_name": "notifyweb gateway",
        "autocommit": True,
        # A database that vanished without closing is noticed within seconds.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    } | {name: options[name] for name in options if name.startswith("ssl")}


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    # Not as startup options: a pooler in between refuses or ignores those.
    await connection.execute(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS:d}")


class Database:
    """Statements of one round trip each, every one committed by itself."""

    def __init__(self, database: Mapping[str, Any]) -> None:
        self._arguments = connection_arguments(database)
        self._pool = AsyncConnectionPool(
            kwargs=self._arguments,
            min_size=1,
            max_size=POOL_SIZE,
            timeout=POOL_WAIT_S,
            # The pool's own attempts grow ever rarer. Given up early, they are made
            # again by whoever needs a connection next.
            reconnect_timeout=1.0,
            open=False,
            configure=_configure,
            name="gateway",
        )
        self._checking: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._pool.open(wait=False)

    async def close(self) -> None:
        if self._checking is not None:
            await asyncio.wait([self._checking])
        await self._pool.close()

    async def forget_broken(self) -> None:
        """Replace connections that did not survive; called when a session ended."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._pool.check())
        # A check that is cancelled would lose the connections that it holds.
        await asyncio.shield(self._checking)

    async def fetch(
        self, statement: LiteralString, parameters: Params
    ) -> list[TupleRow]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement, parameters)
            return await cursor.fetchall()

    async def execute(self, statement: LiteralString, parameters: Params) -> int:
        """How many rows it touched."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement, parameters)
            return cursor.rowcount

    @asynccontextmanager
    async def party_lock(self, party: Party) -> AsyncIterator[PartyLock]:
        """Wait until no other gateway speaks for ``party``.

        The lock lives and dies with a connection of its own, so a killed gateway gives
        way at once.
        """
        connection = await psycopg.AsyncConnection.connect(**self._arguments)
        try:
            await _configure(connection)
            lock = PartyLock(party, connection)
            await lock.acquire()
            yield lock
        finally:
            await connection.close()


class PartyLock:
    """The right to speak for a party, and the connection that it hangs on."""

    def __init__(
        self, party: Party, connection: psycopg.AsyncConnection[TupleRow]
    ) -> None:
        self.party = party
        self._connection = connection

    async def acquire(self) -> None:
        waited = False
        while not await self._try():
            if not waited:
                logger.info("another gateway speaks for %s; waiting", self.party.value)
                waited = True
            await asyncio.sleep(LOCK_POLL_S)

    async def _try(self) -> bool:
        cursor = await self._connection.execute(
            "SELECT pg_try_advisory_lock(%s, %s)",
            (GATEWAY_LOCK, PARTY_NUMBERS[self.party]),
        )
        row = await cursor.fetchone()
        return bool(row and row[0])

    async def execute(self, statement: LiteralString, parameters: Params) -> None:
        """Run on the connection of the lock: that it works proves that we hold it."""
        await self._connection.execute(statement, parameters)


class DjangoThread:
    """One thread in which ordinary, synchronous Django code runs."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="django")

    async def run(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        def call() -> T:
            close_old_connections()
            try:
                return function(*args, **kwargs)
            finally:
                close_old_connections()

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, call)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
