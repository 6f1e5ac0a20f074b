"""A client's WebSocket: a bounded list of frames to write, and the reading loop.

Frames are written in bursts, and not while the peer does not read. A list that exceeds its
limit closes the connection; the messages stay in the mailbox.

`websockets` implements the protocol. Two of its paths are shortened, because together they
cost more CPU time than the rest of the relay's work on a message: an unfragmented message is
parsed here and passed to the session directly instead of through a parser that is a
generator, a queue and a task, and the header of an outgoing frame (unmasked, unfragmented,
uncompressed) is written here. Everything else goes through the library.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import (  # type: ignore[attr-defined]  # of `apply_mask`
    DATA_OPCODES,
    Frame,
    apply_mask,
)
from websockets.protocol import State

from common import clock
from common.clients import subnet_key
from relayserver.connections.transport import INTERNAL_ERROR, TRY_AGAIN_LATER

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.http11 import Request
    from websockets.protocol import Event

    from common.limits import Bucket
    from relayserver.connections.handshakes import Handshakes
    from relayserver.connections.session import Session
    from relayserver.metrics import Counts

logger = logging.getLogger(__name__)

MAX_LIST_BYTES = 8 * 1024 * 1024
# Written to the socket at once, before checking whether the peer reads.
BURST_BYTES = 128 * 1024

END_OF_HEAD = b"\r\n\r\n"
# Twice the longest request line that `websockets` accepts.
MAX_HEAD_BYTES = 16 * 1024
BODY_FIELDS = re.compile(
    rb"\r\n(?:content-length|transfer-encoding):[^\r]*", re.IGNORECASE
)
# FIN and the opcode of a text frame; lengths of one, two and eight bytes.
_TEXT = b"\x81"
_ONE_BYTE, _TWO_BYTES = 126, 1 << 16
# FIN and the opcode of a text and of a binary frame.
_MESSAGES = (0x81, 0x82)
_MASK_BYTES = 4
_MIN_HEADER_BYTES = 6


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
    """Passes whole frames to its session and resumes its transport when the peer reads."""

    # Of the peer, or of the client behind trusted proxies; IPv6 by its /64.
    address = ""
    client: str | None = None
    refusal: str = ""
    frames: WebSocketTransport | None = None
    # Receives unfragmented frames. Fragments, and frames before this is set, queue for
    # `recv`; so do all frames behind a queued one, to stay in order.
    take: Callable[[bytes], None] | None = None
    _queues = False
    # An incomplete HTTP head, then an incomplete header of a frame.
    _head = b""
    # How many bytes are missing of the frame that the library is reading.
    _missing = 0
    _is_websocket = False
    _peer: str | None = None

    def __init__(
        self, *args: Any, handshakes: Handshakes, max_frame: int, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._handshakes = handshakes
        self._max_frame = max_frame

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peername = transport.get_extra_info("peername")
        peer = subnet_key(peername[0] if peername else "")
        if self._handshakes.begin(peer):
            self._peer = peer
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end_handshake()
        super().connection_lost(exc)

    def end_handshake(self) -> None:
        if self._peer is not None:
            self._handshakes.end(self._peer)
            self._peer = None

    def data_received(self, data: bytes) -> None:
        """Pass plain HTTP requests with a body to the handshake without the body.

        The library drops the connection on a body; a client that posts by mistake should
        get a status instead. So the headers that announce a body are removed.
        """
        if self.request is not None:
            if self._is_websocket or is_handshake(self.request):
                self._is_websocket = True
                self._read_frames(data)
            return
        self._head += data
        head, end, rest = self._head.partition(END_OF_HEAD)
        if not end and len(self._head) < MAX_HEAD_BYTES:
            return
        self._head = b""
        super().data_received(BODY_FIELDS.sub(b"", head) + end)
        if rest:
            self.data_received(rest)

    def _read_frames(self, data: bytes) -> None:
        """Take whole messages; the library reads control frames, fragments and parts.

        It also closes the connection on what is against the protocol or too long: from then
        on it gets everything, because its state is not open any more.
        """
        if self._missing:
            part, data = data[: self._missing], data[self._missing :]
            self._missing -= len(part)
            super().data_received(part)
        if self._head:
            data, self._head = self._head + data, b""
        at, end = 0, len(data)
        while end - at >= _MIN_HEADER_BYTES:
            size, mask_at = data[at + 1] & 0x7F, at + 2
            if size >= _ONE_BYTE:
                mask_at += 2 if size == _ONE_BYTE else 8
                size = int.from_bytes(data[at + 2 : mask_at], "big")
            begin = mask_at + _MASK_BYTES
            if begin > end:
                break
            after = begin + size
            if (
                after <= end
                and size <= self._max_frame
                and data[at] in _MESSAGES
                and data[at + 1] & 0x80
                and self.take is not None
                and not self._queues
                and self.protocol.state is State.OPEN
            ):
                self.take(apply_mask(data[begin:after], data[mask_at:begin]))
            else:
                super().data_received(data[at:after])
                self._missing = max(0, after - end)
            at = after
        self._head = data[at:]

    def process_event(self, event: Event) -> None:
        if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
            if event.fin and self.take is not None and not self._queues:
                self.take(bytes(event.data))
                return
            self._queues = True
        super().process_event(event)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.frames is not None:
            self.frames.write_soon()


class WebSocketTransport:
    """A `Transport` over a WebSocket."""

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
        """The connection is closed: drop its frames and end all waits."""
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
        if written < len(frames):
            del frames[:written]
            return
        frames.clear()
        self._drained.set()
        sent, self._sent = self._sent, []
        for callback in sent:
            callback()


class RateLimiter:
    """A token bucket of one connection."""

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
    """Passes the frames of one connection to its session."""

    def __init__(
        self, connection: ClientConnection, session: Session, bucket: Bucket
    ) -> None:
        self._connection = connection
        self._session = session
        self._limiter = RateLimiter(bucket)
        self._is_over = False

    async def read(self) -> None:
        """Read until the connection ends."""
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
        if is_request and not self._limiter.take():
            session.hub.counts.connections_throttled += 1
            self._end(TRY_AGAIN_LATER, "too many requests")

    def _end(self, code: int, reason: str) -> None:
        self._is_over = True
        self._session.transport.close(code, reason)
