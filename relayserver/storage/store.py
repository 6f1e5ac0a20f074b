"""PostgreSQL for the relay: few connections, whole batches, bounded waits.

Without the ORM, which would cost more CPU time per message than the rest of the relay.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool

from common import clock
from relayserver.storage import sql
from relayserver.values import Draft, KeptMessage, Page, Progress, Wanted, message_json

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Callable,
        Coroutine,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )

    from psycopg import AsyncConnection
    from psycopg.rows import TupleRow

logger = logging.getLogger(__name__)

# Statements take milliseconds; a longer one means a database in trouble. All waits of a
# publish must fit into the ten seconds after which clients give it up.
STATEMENT_TIMEOUT_MS = 3_000
CONNECTION_WAIT_S = 2.0
MAX_CALL_S = 4.0
LAST_CALL_S = 1.0
# One connection for ticks, one for acknowledgements, one for the log, one for counting,
# three to read mailboxes (`delivery.mailbox.READERS`).
POOL_SIZE = 7
PAGE_ROWS = 1_000
LOG_BYTES = 4 * 1024 * 1024


P = ParamSpec("P")
R = TypeVar("R")


class StoreUnavailable(Exception):
    """No answer from the database in time. The statement may have been executed."""


def _bounded(
    call: Callable[Concatenate[Store, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Store, P], Coroutine[Any, Any, R]]:
    """Wait for a call no longer than `MAX_CALL_S`, also on a server that hangs.

    A cancelled psycopg call waits for the server to confirm the cancellation, or else
    closes its connection. So calls are never cancelled: one that takes too long, or whose
    caller is cancelled, runs on by itself.
    """

    @functools.wraps(call)
    async def bounded(store: Store, /, *args: P.args, **kwargs: P.kwargs) -> R:
        task = asyncio.create_task(call(store, *args, **kwargs))
        store.note(task)
        done, _ = await asyncio.wait({task}, timeout=MAX_CALL_S)
        if done:
            return task.result()
        raise StoreUnavailable("no answer in time")

    return bounded


class Appended(NamedTuple):
    """Draft n (from 1) got number ``base + n``.

    ``new`` are the numbers that are no repeats; None if none is a repeat.
    """

    base: int
    new: frozenset[int] | None


class Unread(NamedTuple):
    messages: int
    bytes: int


class Store:
    def __init__(self, database: Mapping[str, Any]) -> None:
        self._pool = AsyncConnectionPool(
            kwargs=connection_arguments(database),
            min_size=2,
            max_size=POOL_SIZE,
            timeout=CONNECTION_WAIT_S,
            # The pool doubles the delay between its attempts. After one second it gives
            # up, and the next request for a connection starts again.
            reconnect_timeout=1.0,
            open=False,
            configure=_configure,
            name="relay",
        )
        self._under_way: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        await self._pool.open(wait=False)

    async def close(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=LAST_CALL_S)
        for task in self._under_way:
            task.cancel()
        await self._pool.close()

    def note(self, call: asyncio.Task[Any]) -> None:
        """Keep a call, which holds a connection even if its caller is gone."""
        self._under_way.add(call)
        call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[Any]) -> None:
        self._under_way.discard(call)
        if not call.cancelled():
            call.exception()  # marks it as retrieved; a caller gets it as well

    @_bounded
    async def head(self) -> int:
        """The last assigned number; starts the log if there is none."""
        async with self._connection() as connection:
            row = await _one(connection, sql.HEAD, {})
            if row is None:
                genesis = {"genesis": _genesis()}
                row = await _one(connection, sql.BEGIN_LOG, genesis)
        return row[0] if row else 0

    @_bounded
    async def append(self, drafts: Sequence[Draft]) -> Appended:
        """Write and commit; no two drafts may have the same topic and message id.

        For one caller at a time.
        """
        async with self._connection() as connection:
            row = await _one(connection, sql.APPEND, append_arguments(drafts))
        if row is None:
            raise StoreUnavailable("the log returned no number")
        return Appended(row[0], None if row[1] is None else frozenset(row[1]))

    @_bounded
    async def page(self, client: str, wanted: Sequence[Wanted], *, budget: int) -> Page:
        """The oldest messages of these topics that a connection of the client needs.

        Topic after topic: of a page that is cut, the topics before that of its last
        message are complete.
        """
        arguments = {
            "client": client,
            "topics": [each.topic for each in wanted],
            "after": [each.after for each in wanted],
            "joined_at": [each.joined_at for each in wanted],
            "now": clock.now_ms(),
            "rows": PAGE_ROWS,
            "budget": budget,
        }
        async with self._connection() as connection:
            return _page(await _all(connection, sql.PAGE, arguments))

    @_bounded
    async def between(self, after: int, upto: int, topics: Iterable[str]) -> Page:
        """The first messages of the log in (after, upto] on these topics."""
        arguments = {
            "after": after,
            "upto": upto,
            "topics": list(topics),
            "now": clock.now_ms(),
            "rows": PAGE_ROWS,
            "budget": LOG_BYTES,
        }
        async with self._connection() as connection:
            return _page(await _all(connection, sql.BETWEEN, arguments))

    @_bounded
    async def record(self, progress: Sequence[Progress]) -> None:
        """Write acknowledgements: the cursors, and what was acknowledged beyond them."""
        cursors = _cursor_columns([entry for entry in progress if entry.through])
        tidy = _cursor_columns([entry for entry in progress if entry.tidy])
        beyond = [(entry, id_) for entry in progress for id_ in entry.beyond]
        async with self._connection() as connection, connection.pipeline():
            await _run(connection, sql.MOVE_CURSORS, cursors)
            if beyond:
                arguments = {
                    "topics": [entry.topic for entry, _ in beyond],
                    "clients": [entry.client for entry, _ in beyond],
                    "ids": [id_ for _, id_ in beyond],
                }
                await _run(connection, sql.ACKNOWLEDGE, arguments)
            await _run(connection, sql.TIDY, tidy)

    @_bounded
    async def receive(
        self, client: str, receipts: Sequence[tuple[str, str]]
    ) -> list[tuple[str, int]]:
        """Acknowledge by (topic, message id); returns the messages that were found."""
        arguments = {
            "client": client,
            "topics": [topic for topic, _ in receipts],
            "message_ids": [message_id for _, message_id in receipts],
        }
        async with self._connection() as connection:
            rows = await _all(connection, sql.RECEIVE, arguments)
        return [(topic, id_) for topic, id_ in rows]

    @_bounded
    async def unread(self, topics: Iterable[str], *, limit: int) -> dict[str, Unread]:
        """Count the unread messages of each topic, each up to ``limit``."""
        arguments = {
            "topics": list(topics),
            "now": clock.now_ms(),
            "rows": limit,
        }
        async with self._connection() as connection:
            rows = await _all(connection, sql.UNREAD, arguments)
        return {topic: Unread(count, int(size)) for topic, count, size in rows}

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[TupleRow]]:
        with _our_errors():
            async with self._pool.connection() as connection:
                yield connection


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreUnavailable(type(error).__name__) from error
    except psycopg.Error as error:
        # Not an outage, but for example a database that is read-only after a failover.
        logger.exception("a statement failed")
        raise StoreUnavailable(type(error).__name__) from error


def _genesis() -> int:
    return clock.now_ms() * 1000


def append_arguments(drafts: Sequence[Draft]) -> dict[str, Any]:
    columns = map(list, zip(*drafts, strict=True))
    return dict(zip(Draft._fields, columns, strict=True)) | {
        "genesis": _genesis(),
        "count": len(drafts),
        "now": clock.now_ms(),
    }


def connection_arguments(database: Mapping[str, Any]) -> dict[str, Any]:
    """Django's database settings as arguments for libpq."""
    given = database.get("OPTIONS", {})
    return {
        "dbname": database["NAME"],
        "host": database["HOST"],
        "port": database["PORT"],
        "user": database["USER"],
        "password": database["PASSWORD"],
        "connect_timeout": 2,
        "application_name": "notifyweb relay",
        "autocommit": True,
        # Detects a database host that vanished within about ten seconds.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    } | {name: given[name] for name in given if name.startswith("ssl")}


async def _configure(connection: AsyncConnection[TupleRow]) -> None:
    # Not as a startup option, which connection poolers refuse or ignore.
    await connection.execute(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS:d}")


def _page(rows: list[TupleRow]) -> Page:
    return Page([_kept(row) for row in rows], bool(rows and rows[-1][7]))


def _kept(row: TupleRow) -> KeptMessage:
    json = message_json(
        row[1], row[3], published_at=row[6], tag=row[4], attestation=row[5]
    )
    return KeptMessage(row[0], row[1], row[2], json)


def _cursor_columns(progress: Sequence[Progress]) -> dict[str, list[Any]]:
    return {
        "topics": [entry.topic for entry in progress],
        "clients": [entry.client for entry in progress],
        "through": [entry.through for entry in progress],
    }


async def _one(
    connection: AsyncConnection[TupleRow], statement: str, arguments: dict[str, Any]
) -> TupleRow | None:
    cursor = await connection.execute(statement, arguments, prepare=True)
    return await cursor.fetchone()


async def _all(
    connection: AsyncConnection[TupleRow], statement: str, arguments: dict[str, Any]
) -> list[TupleRow]:
    cursor = await connection.execute(statement, arguments, prepare=True)
    return await cursor.fetchall()


async def _run(
    connection: AsyncConnection[TupleRow], statement: str, arguments: dict[str, Any]
) -> None:
    if arguments["topics"]:
        await connection.execute(statement, arguments, prepare=True)
