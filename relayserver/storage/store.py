"""PostgreSQL, as the relay uses it: few connections, whole batches, bounded waits.

Not the ORM: it would cost more per message than everything else together.
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
from relayserver.storage import packed_arrays, sql
from relayserver.storage.libpq_statement import DirectStatement
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

# A statement that takes longer than this has met a database in trouble. All of it must
# fit into the ten seconds after which clients give a publish up.
STATEMENT_TIMEOUT_MS = 3_000
CONNECTION_WAIT_S = 2.0
MAX_CALL_S = 4.0
LAST_CALL_S = 1.0
# Beside the connection that writes ticks: one for acknowledgements, one for the log, the
# others read mailboxes.
POOL_SIZE = 6
PAGE_ROWS = 1_000
LOG_BYTES = 4 * 1024 * 1024


P = ParamSpec("P")
R = TypeVar("R")


class StoreUnavailable(Exception):
    """The database did not do it in time. It may have done it nevertheless."""


def _bounded(
    call: Callable[Concatenate[Store, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Store, P], Coroutine[Any, Any, R]]:
    """Wait for a call no longer than `MAX_CALL_S`, also on a server that hangs.

    A cancelled psycopg call waits for the server to confirm, so that a time-out would not
    help, and closes its connection if it is not left to do so. Therefore a call is left to
    itself, both when it takes too long and when nobody waits for it any more.
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
    """Draft n got number ``base + n`` (from 1). ``new`` are the numbers that are no
    repeats, None if that is all of them."""

    base: int
    new: frozenset[int] | None


class Unread(NamedTuple):
    messages: int
    bytes: int


class Store:
    def __init__(self, database: Mapping[str, Any]) -> None:
        arguments = _connection_arguments(database)
        self._appending = DirectStatement(
            arguments,
            sql.APPEND,
            connect_s=CONNECTION_WAIT_S,
            answer_s=MAX_CALL_S,
        )
        self._pool = AsyncConnectionPool(
            kwargs=arguments,
            min_size=2,
            max_size=POOL_SIZE,
            timeout=CONNECTION_WAIT_S,
            # The pool's own attempts grow ever rarer. Given up early, they are made
            # again by whoever needs a connection next.
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
        self._appending.close()
        await self._pool.close()

    def note(self, call: asyncio.Task[Any]) -> None:
        """A call under way holds a connection, though nobody may wait for it any more."""
        self._under_way.add(call)
        call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[Any]) -> None:
        self._under_way.discard(call)
        if not call.cancelled():
            call.exception()  # seen: whoever still waits for it gets it, too

    @_bounded
    async def head(self) -> int:
        """The last number given out; begins the log if there is none yet."""
        async with self._connection() as connection:
            row = await _one(connection, sql.HEAD, {})
            if row is None:
                genesis = {"genesis": _genesis()}
                row = await _one(connection, sql.BEGIN_LOG, genesis)
        return row[0] if row else 0

    async def append(self, drafts: Sequence[Draft]) -> Appended:
        """Write and commit; no two drafts may have the same topic and message id.

        For one caller at a time.
        """
        columns = list(zip(*drafts, strict=True))
        parameters = [
            packed_arrays.bigint(_genesis()),
            packed_arrays.bigint(len(drafts)),
            packed_arrays.bigint(clock.now_ms()),
            packed_arrays.texts(columns[0]),
            packed_arrays.texts(columns[1]),
            packed_arrays.texts(columns[2]),
            packed_arrays.bigints(columns[3]),
            packed_arrays.optional_texts(columns[4]),
            packed_arrays.texts(columns[5]),
            packed_arrays.bigints(columns[6]),
            packed_arrays.bigints(columns[7]),
        ]
        with _our_errors():
            result = await self._appending.run(parameters)
        base, new = result.get_value(0, 0), result.get_value(0, 1)
        return Appended(
            int(base or 0),
            None if new is None else frozenset(map(int, new.split())),
        )

    @_bounded
    async def page(self, client: str, wanted: Sequence[Wanted], *, budget: int) -> Page:
        """The oldest messages of these topics that a connection of the client needs.

        Topic after topic: if the page is cut, those before the topic of its last message
        are complete, and that one is up to there.
        """
        arguments = {
            "client": client,
            "topics": packed_arrays.texts(each.topic for each in wanted),
            "after": packed_arrays.bigints([each.after for each in wanted]),
            "joined_at": packed_arrays.bigints([each.joined_at for each in wanted]),
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
            "topics": packed_arrays.texts(topics),
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
                    "topics": packed_arrays.texts(entry.topic for entry, _ in beyond),
                    "clients": packed_arrays.texts(entry.client for entry, _ in beyond),
                    "ids": packed_arrays.bigints([id_ for _, id_ in beyond]),
                }
                await _run(connection, sql.ACKNOWLEDGE, arguments)
            await _run(connection, sql.TIDY, tidy)

    @_bounded
    async def receive(
        self, client: str, receipts: Sequence[tuple[str, str]]
    ) -> list[tuple[str, int]]:
        """Acknowledge by (topic, message id); the messages that were found."""
        arguments = {
            "client": client,
            "topics": packed_arrays.texts(topic for topic, _ in receipts),
            "message_ids": packed_arrays.texts(
                message_id for _, message_id in receipts
            ),
        }
        async with self._connection() as connection:
            rows = await _all(connection, sql.RECEIVE, arguments)
        return [(topic, id_) for topic, id_ in rows]

    @_bounded
    async def unread(self, topics: Iterable[str], *, most: int) -> dict[str, Unread]:
        """How much of each topic nobody has acknowledged; counting stops at ``most``."""
        arguments = {
            "topics": packed_arrays.texts(topics),
            "now": clock.now_ms(),
            "rows": most,
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
        # Not an outage: a statement that this database does not understand, or a
        # database that only reads after a failover.
        logger.exception("a statement failed")
        raise StoreUnavailable(type(error).__name__) from error


def _genesis() -> int:
    return clock.now_ms() * 1000


def _connection_arguments(database: Mapping[str, Any]) -> dict[str, Any]:
    """Django's description of a database, as libpq takes it."""
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
        # Notices a server that vanished without closing the connection.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    } | {name: given[name] for name in given if name.startswith("ssl")}


async def _configure(connection: AsyncConnection[TupleRow]) -> None:
    packed_arrays.register(connection)
    # Not as startup options: a pooler in between refuses or ignores those.
    await connection.execute(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS:d}")


def _page(rows: list[TupleRow]) -> Page:
    return Page([_kept(row) for row in rows], bool(rows and rows[-1][7]))


def _kept(row: TupleRow) -> KeptMessage:
    json = message_json(
        row[1], row[3], published_at=row[6], tag=row[4], attestation=row[5]
    )
    return KeptMessage(row[0], row[1], row[2], json)


def _cursor_columns(
    progress: Sequence[Progress],
) -> dict[str, packed_arrays.PackedArray]:
    return {
        "topics": packed_arrays.texts(entry.topic for entry in progress),
        "clients": packed_arrays.texts(entry.client for entry in progress),
        "through": packed_arrays.bigints([entry.through for entry in progress]),
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
