"""ASGI middleware that rejects requests before Django processes them.

A body beyond the limit is not read to its end, whatever length was declared. A browser
socket is accepted only from pages of this origin: scheme, host and port.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from common.problems import Problem
from notifyweb.outer_errors import render_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    Event = dict[str, Any]
    Receive = Callable[[], Awaitable[Event]]
    Send = Callable[[Event], Awaitable[None]]
    Application = Callable[[Any, Any, Any], Awaitable[None]]

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class BodyLimit:
    """Refuses a request body of more than ``max_bytes``, counted as it arrives.

    ``larger`` has other limits for single paths: uploads.
    """

    def __init__(
        self,
        application: Application,
        max_bytes: int,
        larger: Mapping[str, int] | None = None,
    ) -> None:
        self._application = application
        self._max_bytes = max_bytes
        self._larger = larger or {}

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        max_bytes = self.max_bytes_of(scope["path"])
        for name, value in scope["headers"]:
            if name != b"content-length" or not value.isdigit():
                continue
            if int(value) > max_bytes:
                await self._refuse(scope, send, max_bytes)
                return
        seen = 0
        answered = False

        async def counted_receive() -> Event:
            nonlocal seen
            event = await receive()
            seen += len(event.get("body", b""))
            # Django treats this as a closed connection and drops what it has read.
            return {"type": "http.disconnect"} if seen > max_bytes else event

        async def tracked_send(event: Event) -> None:
            nonlocal answered
            answered = True
            await send(event)

        await self._application(scope, counted_receive, tracked_send)
        if seen > max_bytes and not answered:
            await self._refuse(scope, send, max_bytes)

    def max_bytes_of(self, path: str) -> int:
        return self._larger.get(path, self._max_bytes)

    async def _refuse(self, scope: Event, send: Send, max_bytes: int) -> None:
        problem = Problem(
            type="too-large",
            title="Content too large",
            status=413,
            detail=f"A body may have at most {max_bytes} bytes.",
        )
        headers, body = render_error(problem, scope["headers"])
        start = {"type": "http.response.start", "status": 413, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": body})


class SameOrigin:
    """Accepts browser sockets from pages of the given origins only."""

    def __init__(self, application: Application, origins: Collection[str]) -> None:
        self._application = application
        self._origins = {origin_of(text) for text in origins}

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        found = [value for name, value in scope["headers"] if name == b"origin"]
        try:
            # One header exactly: proxies disagree on which of two counts.
            [header] = found
            is_ours = origin_of(header.decode("ascii")) in self._origins
        except ValueError:
            is_ours = False
        if is_ours:
            await self._application(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close"})


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port; the default port is filled in."""
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is not an origin")
    return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS[parts.scheme]
