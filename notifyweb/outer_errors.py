"""Error responses of the layers outside Django: the ASGI middleware, Daphne, Twisted, Autobahn.

They carry the security headers and a request id like all others.
"""

from __future__ import annotations

import json
from typing import Any

from daphne.http_protocol import WebRequest
from daphne.ws_protocol import WebSocketProtocol
from django.conf import settings
from twisted.web.http import HTTPChannel

from common import entropy
from common.problems import CONTENT_TYPE, Problem
from notifyweb.middleware import PERMISSIONS


def render_error(problem: Problem) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body of the response."""
    request_id = entropy.token_hex(8)
    body = json.dumps({**problem.to_value(), "requestId": request_id}).encode()
    headers = {
        "Content-Type": CONTENT_TYPE,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "Connection": "close",
        "X-Request-Id": request_id,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": settings.X_FRAME_OPTIONS,
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Referrer-Policy": settings.SECURE_REFERRER_POLICY,
        "Cross-Origin-Opener-Policy": settings.SECURE_CROSS_ORIGIN_OPENER_POLICY,
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": PERMISSIONS,
    }
    if settings.SECURE_HSTS_SECONDS:
        headers["Strict-Transport-Security"] = f"max-age={settings.SECURE_HSTS_SECONDS}"
    return [(k.lower().encode(), v.encode()) for k, v in headers.items()], body


def raw_response(problem: Problem, *, retry_after: int | None = None) -> bytes:
    headers, body = render_error(problem)
    if retry_after is not None:
        headers.append((b"retry-after", str(retry_after).encode()))
    head = [f"HTTP/1.1 {problem.status} {problem.title}".encode()]
    head += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*head, b"", body])


def _basic_error(self: Any, status: int, title: bytes, detail: str) -> None:
    problem = Problem("http", title.decode(), status, f"{detail.rstrip('.')}.")
    headers, body = render_error(problem)
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
