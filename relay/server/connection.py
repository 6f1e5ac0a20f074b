"""A client's WebSocket: the bounded list of what is to be written, and the reading loop.

There is one writer per connection. It writes a burst of frames at once and stops while
the peer does not read; a list that grows over its bound ends the connection, because the
mailbox has the messages.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from groundwork import clock
from relay.server.outlet import TRY_AGAIN_LATER

if TYPE_CHECKING:
    from collections.abc import Callable

    from groundwork.limits import Bucket
    from relay.server.counts import Counts
    from relay.server.session import Session

LONGEST_LIST_BYTES = 8 * 1024 * 1024
# What goes to the socket in one go, before it is seen whether the peer reads.
BURST_BYTES = 128 * 1024


class ClientConnection(ServerConnection):
    """Knows whose it is, and tells its outlet when the peer reads again."""

    client: str | None = None
    refusal: str = ""
    outlet: WebSocketOutlet | None = None

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.outlet is not None:
            self.outlet.write_soon()


class WebSocketOutlet:
    """An `Outlet` over a WebSocket."""

    def __init__(self, connection: ClientConnection, counts: Counts) -> None:
        self._connection = connection
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._frames: list[bytes] = []
        self._sent: list[Callable[[], None]] = []
        self._bytes = 0
        self._is_scheduled = False
        self._closing: asyncio.Task[None] | None = None
        self._drained = asyncio.Event()
        self._drained.set()

    def send(self, frame: bytes, sent: Callable[[], None] | None = None, /) -> None:
        if self._closing is not None:
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        if sent is not None:
            self._sent.append(sent)
        if not self._is_scheduled:
            self.write_soon()
        if self._bytes > LONGEST_LIST_BYTES:
            self._counts.readers_too_slow += 1
            self.close(TRY_AGAIN_LATER, "reading too slowly")

    def write_soon(self) -> None:
        if self._frames:
            self._is_scheduled = True
            self._drained.clear()
            self._loop.call_soon(self._write)

    def close(self, code: int, reason: str) -> None:
        if self._closing is None:
            self._closing = self._loop.create_task(self._connection.close(code, reason))
            self.forget()

    def forget(self) -> None:
        """The connection is over: nobody needs to wait for it."""
        self._frames.clear()
        self._sent.clear()
        self._bytes = 0
        self._drained.set()

    async def drained(self) -> None:
        await self._drained.wait()

    def _write(self) -> None:
        self._is_scheduled = False
        connection = self._connection
        frames = self._frames
        written = 0
        while written < len(frames) and not connection.paused:
            if connection.protocol.state is not State.OPEN:
                self.forget()
                return
            burst = 0
            while written < len(frames) and burst < BURST_BYTES:
                connection.protocol.send_text(frames[written])
                burst += len(frames[written])
                written += 1
            self._bytes -= burst
            connection.send_data()
        self._counts.frames_sent += written
        if written == len(frames):
            frames.clear()
            self._all_written()
        else:
            del frames[:written]

    def _all_written(self) -> None:
        self._drained.set()
        sent, self._sent = self._sent, []
        for callback in sent:
            callback()


class Allowance:
    """A token bucket of one connection; the limit per client IP is a proxy's work."""

    __slots__ = ("_at", "_bucket", "_tokens")

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._tokens = float(bucket.burst)
        self._at = clock.monotonic()

    def take(self) -> bool:
        now = clock.monotonic()
        refill = (now - self._at) * self._bucket.per_second
        self._tokens = min(float(self._bucket.burst), self._tokens + refill)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


async def read(
    connection: ClientConnection, session: Session, allowance: Allowance
) -> None:
    """Hand frames to the session until the connection ends."""
    try:
        while True:
            frame = await connection.recv(decode=False)
            if session.hub.is_closing:
                continue
            if session.receive(frame) and not allowance.take():
                session.hub.counts.connections_throttled += 1
                session.outlet.close(TRY_AGAIN_LATER, "too many requests")
                return
    except ConnectionClosed:
        return
