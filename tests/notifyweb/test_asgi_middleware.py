"""The ASGI middleware of the web process, through the real application."""

from __future__ import annotations

import json

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.testing import WebsocketCommunicator
from django.conf import settings

from common.problems import problem_url
from notifyweb.asgi import application
from notifyweb.asgi_middleware import SameOrigin

LIMIT = settings.LIMITS.json_body_bytes


async def post(chunks, headers=(), path="/healthz"):
    """Send a body in pieces; return the status and the body of the response."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    caller = ApplicationCommunicator(application, scope)
    for position, chunk in enumerate(chunks, start=1):
        more = position < len(chunks)
        await caller.send_input(
            {"type": "http.request", "body": chunk, "more_body": more}
        )
    start = await caller.receive_output(5)
    body = b""
    while True:
        event = await caller.receive_output(5)
        body += event.get("body", b"")
        if not event.get("more_body"):
            await caller.wait(5)
            return start, body


async def test_a_declared_body_beyond_the_limit_is_not_read():
    start, body = await post([], headers=[(b"content-length", str(LIMIT + 1).encode())])
    assert start["status"] == 413
    assert (b"content-type", b"application/problem+json") in start["headers"]
    assert json.loads(body)["type"] == problem_url("too-large")


async def test_the_refusal_has_the_security_headers_and_an_id():
    start, body = await post([], headers=[(b"content-length", str(LIMIT + 1).encode())])
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert headers["x-request-id"] == json.loads(body)["requestId"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert headers["content-length"] == str(len(body))


async def test_a_browser_gets_the_refusal_as_a_page_in_its_language():
    asked = {
        "content-length": str(LIMIT + 1),
        "accept": "text/html,*/*;q=0.8",
        "accept-language": "de",
        "cookie": "theme=dark",
        "host": "localhost",
        "referer": "http://localhost/settings/data",
    }
    encoded = [(name.encode(), value.encode()) for name, value in asked.items()]
    start, body = await post([], headers=encoded)
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert start["status"] == 413
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert "style-src 'self'" in headers["content-security-policy"]
    page = body.decode()
    assert '<html lang="de" data-theme="dark"' in page
    assert headers["x-request-id"] in page
    assert 'href="/settings/data"' in page


async def test_a_body_without_a_declared_length_is_counted():
    start, _ = await post([b"x" * LIMIT, b"x", b"never read"])
    assert start["status"] == 413


async def test_an_upload_has_a_limit_of_its_own():
    most = settings.LIMITS.import_bytes + LIMIT
    for length, status in ((LIMIT + 1, 403), (most + 1, 413)):
        start, _ = await post(
            [b"x"] if status == 403 else [],
            headers=[(b"content-length", str(length).encode())],
            path="/settings/data/import",
        )
        assert start["status"] == status


async def test_a_body_at_the_limit_reaches_the_view():
    start, _ = await post([b"x" * LIMIT])
    assert start["status"] == 405, "the view takes GET only"


class Inside:
    """Accepts every socket that the middleware lets through."""

    async def __call__(self, scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})


async def opens(origins, *headers):
    door = SameOrigin(Inside(), origins)
    caller = WebsocketCommunicator(door, "/ws/device/", headers=list(headers))
    accepted, _ = await caller.connect()
    return accepted


ORIGINS = ["https://notify.example", "http://localhost:8000"]


@pytest.mark.parametrize(
    "origin",
    ["https://notify.example", "https://notify.example:443", "http://localhost:8000"],
)
async def test_a_page_of_this_origin_may_open_the_socket(origin):
    assert await opens(ORIGINS, (b"origin", origin.encode()))


@pytest.mark.parametrize(
    "origin",
    [
        "http://notify.example",
        "https://notify.example:8443",
        "https://evil.example",
        "https://notify.example.evil.example",
        "https://evil.example/https://notify.example",
        "http://localhost",
        "http://localhost:8001",
        "null",
        "",
        "https://",
        "https://notify.example:port",
        "https://notif\u0443.example",
    ],
)
async def test_a_page_of_another_origin_may_not(origin):
    assert not await opens(ORIGINS, (b"origin", origin.encode()))


async def test_no_origin_or_two_origins_are_rejected():
    ours = (b"origin", b"https://notify.example")
    assert not await opens(ORIGINS)
    assert not await opens(ORIGINS, ours, ours)


async def test_the_application_accepts_its_own_origin_only():
    denied = WebsocketCommunicator(
        application, "/ws/device/", headers=[(b"origin", b"https://evil.example")]
    )
    assert await denied.connect() == (False, 1000)
