"""PostgreSQL for the gateway: a small pool, and one connection per party for its locks.

The hot path does without the ORM. Rare work (keys, callbacks, starting tasks) runs as
ordinary Django code in a thread (``DjangoThread``).
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, LiteralString, ParamSpec, TypeVar

import psycopg
from django.db import close_old_connections
from psycopg_pool import AsyncConnectionPool

from messaging.gateway.membership import Membership

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from psycopg.abc import Params
    from psycopg.rows import TupleRow

    from messaging.models import Party

POOL_SIZE: Final = 6
POOL_WAIT_S: Final = 5.0

P = ParamSpec("P")
T = TypeVar("T")


def connection_arguments(database: Mapping[str, Any]) -> dict[str, Any]:
    """Django's database settings as arguments for libpq."""
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
        # Detects a database host that vanished within about ten seconds.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    } | {name: options[name] for name in options if name.startswith("ssl")}


# Not as startup options, which connection poolers refuse or ignore.
CONFIGURE: Final[tuple[LiteralString, ...]] = (
    "SET statement_timeout = 10000",
    # Every statement of the gateway reads by an index and stops at a limit. PostgreSQL
    # cannot estimate how many rows are due in a range of shards that is a variable: it
    # expects few, and would read and sort all of them.
    "SET enable_bitmapscan = off",
    "SET enable_seqscan = off",
    "SET jit = off",
)


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    for statement in CONFIGURE:
        await connection.execute(statement)


class Database:
    """Runs single statements, each committed by itself."""

    def __init__(self, database: Mapping[str, Any]) -> None:
        self._arguments = connection_arguments(database)
        self._pool = AsyncConnectionPool(
            kwargs=self._arguments,
            min_size=1,
            max_size=POOL_SIZE,
            timeout=POOL_WAIT_S,
            # The pool doubles the delay between its attempts. After one second it gives
            # up, and the next request for a connection starts again.
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
        """Replace broken connections; called when a session ended."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._pool.check())
        # A cancelled check would lose the connections that it has taken.
        await asyncio.shield(self._checking)

    async def fetch(
        self, statement: LiteralString, parameters: Params
    ) -> list[TupleRow]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement, parameters)
            return await cursor.fetchall()

    async def execute(self, statement: LiteralString, parameters: Params) -> int:
        """Returns the number of affected rows."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement, parameters)
            return cursor.rowcount

    @asynccontextmanager
    async def membership(self, party: Party) -> AsyncIterator[Membership]:
        """Be one of the gateways of ``party``, on a connection of its own."""
        connection = await psycopg.AsyncConnection.connect(**self._arguments)
        try:
            await _configure(connection)
            member = Membership(party, connection)
            await member.join()
            yield member
        finally:
            await connection.close()


class DjangoThread:
    """One thread for synchronous Django code."""

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
