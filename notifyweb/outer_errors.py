"""Error responses of the layers outside Django: the ASGI middleware, Daphne, Twisted, Autobahn.

They carry the security headers and a request id like all others, and are pages for browsers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from daphne.http_protocol import WebRequest
from daphne.ws_protocol import WebSocketProtocol
from django.conf import settings
from django.http import HttpRequest, parse_cookie
from django.utils import translation
from twisted.web.http import HTTPChannel

from common import entropy
from common.problems import CONTENT_TYPE, Problem
from notifyweb.error_pages import error_page
from notifyweb.middleware import PERMISSIONS

Headers = Iterable[tuple[bytes, bytes]]

# What the page of an error loads.
PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def render_error(
    problem: Problem,
    asked: Headers = (),
    *,
    retry_after: int | None = None,
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body of the response. ``asked`` are the headers of the request."""
    request_id = entropy.token_hex(8)
    content_type, policy = CONTENT_TYPE, "default-src 'none'; frame-ancestors 'none'"
    given = dict(asked)
    if b"text/html" in given.get(b"accept", b""):
        content_type, policy = "text/html; charset=utf-8", PAGE_POLICY
        body = _page(problem, given, request_id, retry_after)
    else:
        body = json.dumps({**problem.to_value(), "requestId": request_id}).encode()
    headers = {
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "Connection": "close",
        "X-Request-Id": request_id,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": settings.X_FRAME_OPTIONS,
        "Content-Security-Policy": policy,
        "Referrer-Policy": settings.SECURE_REFERRER_POLICY,
        "Cross-Origin-Opener-Policy": settings.SECURE_CROSS_ORIGIN_OPENER_POLICY,
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": PERMISSIONS,
    }
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    if settings.SECURE_HSTS_SECONDS:
        headers["Strict-Transport-Security"] = f"max-age={settings.SECURE_HSTS_SECONDS}"
    return [(k.lower().encode(), v.encode()) for k, v in headers.items()], body


def _page(
    problem: Problem,
    given: dict[bytes, bytes],
    request_id: str,
    retry_after: int | None,
) -> bytes:
    request = HttpRequest()
    request.method = "POST"
    request.COOKIES = parse_cookie(given.get(b"cookie", b"").decode("latin-1"))
    for name in ("host", "referer", "accept-language"):
        value = given.get(name.encode(), b"").decode("latin-1")
        request.META[f"HTTP_{name.upper().replace('-', '_')}"] = value
    request.request_id = request_id  # type: ignore[attr-defined]
    with translation.override(translation.get_language_from_request(request)):
        wait = None if retry_after is None else str(retry_after)
        return error_page(request, problem, retry_after=wait).encode()


def raw_response(
    problem: Problem, asked: Headers = (), *, retry_after: int | None = None
) -> bytes:
    headers, body = render_error(problem, asked, retry_after=retry_after)
    head = [f"HTTP/1.1 {problem.status} {problem.title}".encode()]
    head += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*head, b"", body])


def headers_of(request: Any) -> Headers:
    """The headers of one of Twisted's requests."""
    found = request.requestHeaders.getAllRawHeaders()
    return [(name.lower(), values[-1]) for name, values in found]


def _basic_error(self: Any, status: int, title: bytes, detail: str) -> None:
    problem = Problem("http", title.decode(), status, f"{detail.rstrip('.')}.")
    headers, body = render_error(problem, headers_of(self))
    start = {"type": "http.response.start", "status": status, "headers": headers}
    self.handle_reply(start)
    self.handle_reply({"type": "http.response.body", "body": body})


def _bad_request(self: Any) -> None:
    problem = Problem("http", "Bad Request", 400, "The request is not valid HTTP.")
    self.transport.write(raw_response(problem))
    self.loseConnection()


def _socket_refused(
    self: Any, status: int, reason: str, headers: object = None
) -> None:
    self.sendData(raw_response(Problem("http", "WebSocket refused", status, reason)))


def install() -> None:
    """Replace the methods of the libraries that write errors; they offer no other way."""
    WebRequest.basic_error = _basic_error
    channel: Any = HTTPChannel
    channel._respondToBadRequestAndDisconnect = _bad_request
    WebSocketProtocol.sendHttpErrorResponse = _socket_refused
