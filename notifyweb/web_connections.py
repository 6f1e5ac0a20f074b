"""HTTP connections of the web process: limits until the request is complete, and while the
response waits for its reader.

Daphne and Twisted hand a request over once it has arrived to its end, body included, and
wait for it as long as a byte comes now and then. Until then it has proven nothing, but holds
an open file, and on disk what has arrived of its body. So each request has a deadline, its
body is measured while it arrives, and of too many connections that wait for a request, the
one that has waited longest is closed: new callers are always served.

A response that is made while it is sent is made no faster than it is read: Daphne would
collect the rest in memory. A caller that does not read is cut off.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from daphne.http_protocol import HTTPFactory, WebRequest
from django.conf import settings
from twisted.web import http

from common.clients import has_own_address, subnet_key
from common.problems import Problem
from notifyweb.outer_errors import headers_of, raw_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.limits import Limits
    from notifyweb.asgi_middleware import Application, Event, Receive, Send

# Twisted's annotations are partial, and wrong where methods are replaced.
HTTPChannel: Any = http.HTTPChannel
# 0.5 Mbit/s. A slower body is cut off, so that nothing can hold its place for hours.
MIN_BODY_BYTES_PER_S = 64 * 1024
# So long the rest of a refused body is read and dropped: a caller that still sends would
# see a reset connection instead of the response.
LINGER_S = 5
CHUNK_BYTES = 64 * 1024
RETRY_AFTER_S = 10


class WaitingConnections:
    """The connections that wait for a request, the longest waiting first."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # Dictionaries keep the order of insertion.
        self._addresses: dict[Any, str] = {}
        self._by_address: dict[str, dict[Any, None]] = {}

    def __len__(self) -> int:
        return len(self._addresses)

    def add(self, connection: Any, address: str) -> Any | None:
        """Returns the connection to close for it, if there are too many.

        ``address`` is empty where limits per address do not apply.
        """
        self._addresses[connection] = address
        own = self._by_address.setdefault(address, {})
        own[connection] = None
        if address and len(own) > self._limits.web_waiting_per_address:
            return next(iter(own))
        if len(self._addresses) > self._limits.web_waiting:
            return next(iter(self._addresses))
        return None

    def discard(self, connection: Any) -> None:
        address = self._addresses.pop(connection, None)
        if address is not None:
            own = self._by_address[address]
            del own[connection]
            if not own:
                del self._by_address[address]


class Uploads:
    """Large bodies that arrive or are being processed: each takes up to 128 MB of disk."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_address: Counter[str] = Counter()

    def begin(self, address: str) -> bool:
        """Count one more; returns False if there are too many already."""
        if self._by_address.total() >= self._limits.web_uploads or (
            address
            and self._by_address[address] >= self._limits.web_uploads_per_address
        ):
            return False
        self._by_address[address] += 1
        return True

    def end(self, address: str) -> None:
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


class Request(WebRequest):  # type: ignore[misc] # Daphne is not typed
    """Measures its body while it arrives."""

    def handleContentChunk(self, data: bytes) -> None:
        if self.channel.takes_body(len(data)):
            super().handleContentChunk(data)


class Connection(HTTPChannel):  # type: ignore[misc] # Any, see above
    def __init__(self) -> None:
        super().__init__()
        self._address = ""
        self._deadline: Any = None
        self._is_refused = False
        self._is_upload = False
        self._body_bytes = 0
        self._max_body_bytes = 0
        self._has_room = asyncio.Event()
        self._unread_deadline: Any = None

    def connectionMade(self) -> None:
        super().connectionMade()
        peer = getattr(self.transport.getPeer(), "host", "")
        self._address = subnet_key(peer) if has_own_address(peer) else ""
        self._wait_for_request()
        self._set_deadline(self.factory.limits.web_head_s)

    def connectionLost(self, reason: Any) -> None:
        self._stop_waiting()
        self._end_upload()
        self._note_room()
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._deadline is None and not self._handlingRequest:
            # The first bytes of another request on a connection that was kept.
            self._set_deadline(self.factory.limits.web_head_s)
        super().dataReceived(data)

    def rawDataReceived(self, data: bytes) -> None:
        if not self._is_refused:
            super().rawDataReceived(data)

    def allHeadersReceived(self) -> None:
        path = unquote_to_bytes(self._path.partition(b"?")[0])
        self._max_body_bytes = self.factory.max_body_bytes(path.decode("latin-1"))
        self._body_bytes = 0
        # Without a declared length it may become as long as is allowed.
        expected = self._max_body_bytes if self.length is None else self.length
        if expected > self._max_body_bytes:
            self._refuse_body()
            return
        if expected > self.factory.limits.json_body_bytes:
            if not self.factory.uploads.begin(self._address):
                detail = "Too many uploads are running. Try again in a moment."
                self._refuse(503, "Service Unavailable", detail, linger_s=LINGER_S)
                return
            self._is_upload = True
        head_s = self.factory.limits.web_head_s
        self._set_deadline(head_s + expected / MIN_BODY_BYTES_PER_S)
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        if self._is_refused:
            return
        self._stop_waiting()
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        self._end_upload()
        if self.persistent:
            self._wait_for_request()
            if self._dataBuffer:
                self._set_deadline(self.factory.limits.web_head_s)
        super().requestDone(request)

    def takes_body(self, size: int) -> bool:
        """Count a part of the body; returns False if it is not to be kept."""
        self._body_bytes += size
        if not self._is_refused and self._body_bytes > self._max_body_bytes:
            self._refuse_body()
        return not self._is_refused

    # Waiting ----------------------------------------------------------------

    def _wait_for_request(self) -> None:
        longest = self.factory.waiting.add(self, self._address)
        if longest is not None:
            longest.give_up("Too many connections wait for a request.")

    def _stop_waiting(self) -> None:
        self.factory.waiting.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _set_deadline(self, seconds: float) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        detail = "The request did not arrive in time."
        self._deadline = self.callLater(seconds, self._expire, detail)

    def _expire(self, detail: str) -> None:
        self._deadline = None
        self.give_up(detail)

    def give_up(self, detail: str) -> None:
        self._refuse(408, "Request Timeout", detail, linger_s=0)

    # Responses --------------------------------------------------------------

    async def room_to_write(self) -> None:
        """Wait until the caller has read what was written, or the connection is closed."""
        if self._waitingForTransport:
            await self._has_room.wait()

    def pauseProducing(self) -> None:
        super().pauseProducing()
        self._has_room.clear()
        if self._unread_deadline is None:
            seconds = self.factory.limits.web_unread_s
            self._unread_deadline = self.callLater(seconds, self._cut_off)

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self._note_room()

    def timeoutConnection(self) -> None:
        """Not idle while the response is still read; ``_cut_off`` limits that time."""
        if self._unread_deadline is None:
            super().timeoutConnection()
        else:
            self.setTimeout(self.timeOut)

    def _cut_off(self) -> None:
        self._unread_deadline = None
        self.forceAbortClient()

    def _note_room(self) -> None:
        self._has_room.set()
        if self._unread_deadline is not None:
            self._unread_deadline.cancel()
            self._unread_deadline = None

    # Refusing ---------------------------------------------------------------

    def _refuse_body(self) -> None:
        detail = f"A body may have at most {self._max_body_bytes} bytes."
        self._refuse(413, "Content too large", detail, linger_s=LINGER_S)

    def _refuse(self, status: int, title: str, detail: str, *, linger_s: float) -> None:
        if self._is_refused:
            return
        self._is_refused = True
        self._stop_waiting()
        self._end_upload()
        self.setTimeout(None)
        types = {413: "too-large", 503: "unavailable"}
        problem = Problem(types.get(status, "http"), title, status, detail)
        retry_after = RETRY_AFTER_S if status == 503 else None
        asked = headers_of(self.requests[-1]) if self.requests else ()
        self.transport.write(raw_response(problem, asked, retry_after=retry_after))
        if linger_s:
            # Ends the response for the caller; ours ends with ``forceAbortClient``.
            self.transport.loseWriteConnection()
            self._abortingCall = self.callLater(linger_s, self.forceAbortClient)
        else:
            self.loseConnection()

    def _end_upload(self) -> None:
        if self._is_upload:
            self._is_upload = False
            self.factory.uploads.end(self._address)


class WebFactory(HTTPFactory):  # type: ignore[misc] # Daphne is not typed
    """Makes connections with these limits."""

    protocol = Connection

    def __init__(self, max_body_bytes: Callable[[str], int], server: Any) -> None:
        super().__init__(server)
        self.max_body_bytes = max_body_bytes
        self.limits: Limits = settings.LIMITS
        self.waiting = WaitingConnections(self.limits)
        self.uploads = Uploads(self.limits)

    def buildProtocol(self, address: Any) -> Any:
        connection: Any = http.HTTPFactory.buildProtocol(self, address)
        connection.requestFactory = Request
        return connection


class BodyQueue:
    """Passes on the file that a body is in, where Daphne passes on all of its bytes.

    The bytes of a large upload would be in memory at once. ``BodyFromFile`` reads them.
    """

    def __init__(self, queue: Any, file: Any) -> None:
        self._queue = queue
        self._file = file
        self._bytes = 0

    def put_nowait(self, event: Event) -> None:
        if event["type"] != "http.request":
            self._queue.put_nowait(event)
            return
        self._bytes += len(event["body"])
        if not event["more_body"]:
            self._queue.put_nowait(
                {"type": "http.request", "file": self._file, "bytes": self._bytes}
            )


class BodyFromFile:
    """ASGI middleware: reads a body in parts, as the application asks for them."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        file: Any = None
        rest = 0

        async def read() -> Event:
            nonlocal file, rest
            if file is None or not rest:
                event = await receive()
                if "file" not in event:
                    return event
                file, rest = event["file"], event["bytes"]
                if not rest:
                    return {"type": "http.request", "body": b"", "more_body": False}
                file.seek(0)
            try:
                part = file.read(min(rest, CHUNK_BYTES))
            except ValueError:
                # The connection was lost, and the file was closed with it.
                return {"type": "http.disconnect"}
            rest -= len(part)
            return {"type": "http.request", "body": part, "more_body": rest > 0}

        await self._application(scope, read, send)
