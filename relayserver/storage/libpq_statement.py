"""One prepared statement on a connection of its own, driven by the event loop itself.

psycopg makes the connection and says what libpq's errors mean. The waiting is done here:
psycopg's own costs more than the statement when a tick has few messages, because it sets
up its readers, timers and tasks anew for every call.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors
from psycopg.pq import ExecStatus, Format

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from psycopg import AsyncConnection
    from psycopg.abc import Buffer
    from psycopg.pq.abc import PGconn, PGresult
    from psycopg.rows import TupleRow

NAME = b"direct"


class DirectStatement:
    """Used by one caller at a time. Every call may raise `psycopg.Error`."""

    def __init__(
        self,
        connection: Mapping[str, Any],
        statement: str,
        *,
        connect_s: float,
        answer_s: float,
    ) -> None:
        self._arguments = connection
        self._statement = statement
        self._connect_s = connect_s
        self._answer_s = answer_s
        # Kept beside its libpq connection because it closes that when it is collected.
        self._connection: AsyncConnection[TupleRow] | None = None
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Future[PGresult] | None = None
        self._result: PGresult | None = None
        self._socket = -1
        self._is_writing = False

    async def run(self, parameters: Sequence[Buffer | None]) -> PGresult:
        """The one result of the statement. Parameters are in binary form."""
        if self._connection is None:
            await self._connect()
        formats = [Format.BINARY] * len(parameters)
        return await self._exchange(
            lambda libpq: libpq.send_query_prepared(NAME, parameters, formats)
        )

    def close(self) -> None:
        if self._connection is not None:
            self._loop.remove_reader(self._socket)
            if self._is_writing:
                self._loop.remove_writer(self._socket)
                self._is_writing = False
            self._connection.pgconn.finish()
            self._connection = None

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(self._connect_s):
                self._connection = await psycopg.AsyncConnection.connect(
                    **self._arguments
                )
        except TimeoutError:
            raise errors.ConnectionTimeout("no connection in time") from None
        self._socket = self._connection.pgconn.socket
        self._loop.add_reader(self._socket, self._readable)
        await self._exchange(
            lambda libpq: libpq.send_prepare(NAME, self._statement.encode())
        )

    async def _exchange(self, send: Callable[[PGconn], None]) -> PGresult:
        assert self._connection is not None  # noqa: S101 - for the type checker
        self._waiting = self._loop.create_future()
        timer = self._loop.call_later(self._answer_s, self._give_up)
        try:
            send(self._connection.pgconn)
            self._flush()
            result = await self._waiting
        except BaseException:
            # Whatever the server still does, nobody here waits for its answer.
            self.close()
            raise
        finally:
            timer.cancel()
            self._waiting = None
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise errors.error_from_result(result)
        return result

    def _give_up(self) -> None:
        self._fail(errors.QueryCanceled("no answer in time"))

    def _fail(self, error: psycopg.Error) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

    def _flush(self) -> None:
        """Write what libpq has; it takes what the socket does not."""
        if self._connection is None:
            return
        try:
            unwritten = self._connection.pgconn.flush() != 0
        except psycopg.Error as error:
            self._fail(error)
            return
        if unwritten and not self._is_writing:
            self._loop.add_writer(self._socket, self._flush)
        elif self._is_writing and not unwritten:
            self._loop.remove_writer(self._socket)
        self._is_writing = unwritten

    def _readable(self) -> None:
        if self._connection is None:
            return
        libpq = self._connection.pgconn
        try:
            libpq.consume_input()
            while self._waiting is not None and not libpq.is_busy():
                result = libpq.get_result()
                if result is None:
                    self._finish()
                    return
                self._result = result
        except psycopg.Error as error:
            self._fail(error)
            self.close()

    def _finish(self) -> None:
        result, self._result = self._result, None
        if result is not None and self._waiting is not None:
            with contextlib.suppress(asyncio.InvalidStateError):
                self._waiting.set_result(result)
