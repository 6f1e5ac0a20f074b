"""A client's WebSocket: the bounded list of what is to be written, and the reading loop.

There is one writer per connection. It writes a burst of frames at once and stops while
the peer does not read; a list that grows over its bound ends the connection, because the
mailbox has the messages.

`websockets` does the protocol. Two of its ways are shortened, because together they would
cost as much as everything that the relay does with a message: a whole frame that came in
goes to the session at once, not through a queue and a task, and the header of a frame
that goes out (unmasked, not fragmented, not compressed) is written here.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import State

from common import clock
from relayserver.connections.transport import INTERNAL_ERROR, TRY_AGAIN_LATER

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.http11 import Request
    from websockets.protocol import Event

    from common.limits import Bucket
    from relayserver.connections.session import Session
    from relayserver.metrics import Counts

logger = logging.getLogger(__name__)

MAX_LIST_BYTES = 8 * 1024 * 1024
# What goes to the socket in one go, before it is seen whether the peer reads.
BURST_BYTES = 128 * 1024


END_OF_HEAD = b"\r\n\r\n"
MAX_HEAD_BYTES = 64 * 1024
BODY_FIELDS = re.compile(
    rb"\r\n(?:content-length|transfer-encoding):[^\r]*", re.IGNORECASE
)
# FIN and the opcode of a text frame; lengths of one, two and eight bytes.
_TEXT = b"\x81"
_ONE_BYTE, _TWO_BYTES = 126, 1 << 16


def text_header(size: int) -> bytes:
    """The header of a server's text frame (RFC 6455, 5.2)."""
    if size < _ONE_BYTE:
        return _TEXT + size.to_bytes(1, "big")
    if size < _TWO_BYTES:
        return _TEXT + b"\x7e" + size.to_bytes(2, "big")
    return _TEXT + b"\x7f" + size.to_bytes(8, "big")


def is_handshake(request: Request) -> bool:
    return request.method == "GET" and "Upgrade" in request.headers


class ClientConnection(ServerConnection):
    """Knows whose it is, and tells its outlet when the peer reads again."""

    client: str | None = None
    refusal: str = ""
    outlet: WebSocketTransport | None = None
    # Takes whole frames. Fragments queue for `recv`, and so does what comes before this
    # is set; whatever comes behind something queued queues, too, and stays in order.
    take: Callable[[bytes], None] | None = None
    _queues = False
    _head = b""

    def data_received(self, data: bytes) -> None:
        """Let plain HTTP requests with a body through to the handshake.

        The library drops the connection on a body; a caller that posts by mistake
        should see a status instead. So the head is passed on without the fields that
        announce a body, and the body is dropped.
        """
        if self.request is not None:
            if is_handshake(self.request):
                super().data_received(data)
            return
        self._head += data
        head, end, rest = self._head.partition(END_OF_HEAD)
        if not end and len(self._head) < MAX_HEAD_BYTES:
            return
        self._head = b""
        super().data_received(BODY_FIELDS.sub(b"", head) + end)
        if rest:
            self.data_received(rest)

    def process_event(self, event: Event) -> None:
        if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
            if event.fin and self.take is not None and not self._queues:
                self.take(bytes(event.data))
                return
            self._queues = True
        super().process_event(event)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.outlet is not None:
            self.outlet.write_soon()


class WebSocketTransport:
    """An `Transport` over a WebSocket."""

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
        if self._bytes > MAX_LIST_BYTES:
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
            burst: list[bytes] = []
            size = 0
            while written < len(frames) and size < BURST_BYTES:
                frame = frames[written]
                burst += (text_header(len(frame)), frame)
                size += len(frame)
                written += 1
            self._bytes -= size
            connection.transport.write(b"".join(burst))
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


class RateLimiter:
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


class Reader:
    """Hands the frames of one connection to its session."""

    def __init__(
        self, connection: ClientConnection, session: Session, bucket: Bucket
    ) -> None:
        self._connection = connection
        self._session = session
        self._allowance = RateLimiter(bucket)
        self._is_over = False

    async def read(self) -> None:
        """Until the connection ends."""
        self._connection.take = self._take
        try:
            while True:
                self._take(await self._connection.recv(decode=False))
        except ConnectionClosed:
            return

    def _take(self, frame: bytes) -> None:
        session = self._session
        if self._is_over or session.hub.is_closing:
            return
        try:
            is_request = session.receive(frame)
        except Exception:
            logger.exception("a frame could not be handled")
            self._end(INTERNAL_ERROR, "internal error")
            return
        if is_request and not self._allowance.take():
            session.hub.counts.connections_throttled += 1
            self._end(TRY_AGAIN_LATER, "too many requests")

    def _end(self, code: int, reason: str) -> None:
        self._is_over = True
        self._session.outlet.close(code, reason)
