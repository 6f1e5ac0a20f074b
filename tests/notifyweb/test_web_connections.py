"""Connections that hold back their request: limited, closed, and without effect on others."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import select
import socket
import time
from pathlib import Path

import pytest
from django.core.management import call_command

from common.limits import Limits
from notifyweb.web_connections import Uploads, WaitingConnections
from tests.notifyweb.web_process import web_process

# Without the mark pytest-django makes no database for the fixture below.
pytestmark = pytest.mark.django_db

OPENED: list[socket.socket] = []
UPLOAD = "/settings/data/import"
HOST = b"Host: localhost\r\n"
LARGE = b"GET /slow/large HTTP/1.1\r\n" + HOST + b"\r\n"
WEB_LIMITS = "web_head_s=3,web_unread_s=6,web_waiting=40,web_uploads=2"
# What a client sends of its request, and then nothing more.
HALF_OPEN = {
    "nothing": b"",
    "half a line": b"GET /heal",
    "half a head": b"GET /healthz HTTP/1.1\r\n" + HOST + b"Accept: */",
    "half a WebSocket upgrade": b"GET /ws/device/ HTTP/1.1\r\n"
    + HOST
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHN",
    "half a body": b"POST /healthz HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 1000\r\n\r\nhalf",
    "half a chunk": b"POST /healthz HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n10\r\nhalf",
    "half a second request": b"GET /livez HTTP/1.1\r\n"
    + HOST
    + b"\r\nGET /healthz HTTP/1.1\r\nHos",
}


@pytest.fixture(scope="module")
def web(django_db_setup, django_db_blocker):
    """One process for all tests: what it serves here needs no rows but the canary."""
    with django_db_blocker.unblock(), web_process(SLOW_LIMITS=WEB_LIMITS) as found:
        is_served(found[0])
        call_command("flush", interactive=False, verbosity=0, inhibit_post_migrate=True)
        yield found


@pytest.fixture(autouse=True)
def sockets():
    """Closes what a test has opened."""
    yield
    while OPENED:
        OPENED.pop().close()


def opened(port, sent=b""):
    line = socket.create_connection(("::1", port), timeout=30)
    OPENED.append(line)
    line.sendall(sent)
    return line


def is_served(port) -> float:
    """How long a whole request takes meanwhile."""
    began = time.monotonic()
    line = http.client.HTTPConnection("::1", port, timeout=60)
    with contextlib.closing(line):
        line.request("GET", "/livez", headers={"Host": "localhost"})
        assert line.getresponse().status == 200
    return time.monotonic() - began


def rest_of(line) -> bytes:
    """All that comes until the server closes the connection."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := line.recv(65536):
            found += part
    return found


def is_open(line) -> bool:
    """Whether the server has not closed the connection; drops what came before."""
    try:
        while select.select([line], [], [], 0)[0]:
            if not line.recv(65536):
                return False
    except ConnectionResetError:
        return False
    return True


def status_of(line) -> tuple[int, dict, dict]:
    """Status, headers and problem of a response whose request was not sent in full."""
    response = http.client.HTTPResponse(line)
    response.begin()
    return response.status, dict(response.headers), json.loads(response.read())


def head(path, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", *headers, "", ""]
    return "\r\n".join(lines).encode()


# --- half-open requests -----------------------------------------------------------------


def test_every_half_request_is_closed_and_others_are_served_meanwhile(web):
    port, _ = web
    began = time.monotonic()
    lines = {name: opened(port, sent) for name, sent in HALF_OPEN.items()}
    assert is_served(port) < 3
    for name, line in lines.items():
        answer = rest_of(line)
        assert b"HTTP/1.1 408 Request Timeout" in answer, name
        assert b"x-request-id" in answer.lower(), name
    assert 2 < time.monotonic() - began < 30


def test_a_byte_now_and_then_does_not_keep_a_request_open(web):
    port, _ = web
    lines = [opened(port, HALF_OPEN[name]) for name in ("half a head", "half a body")]
    began = time.monotonic()
    while any(map(is_open, lines)):
        assert time.monotonic() - began < 30
        for line in lines:
            with contextlib.suppress(OSError):
                line.sendall(b"x")
        time.sleep(0.2)


def test_the_longest_waiting_make_room_for_new_ones(web):
    port, _ = web
    lines = [opened(port, b"GET /heal") for _ in range(100)]
    assert is_served(port) < 3
    assert sum(map(is_open, lines)) <= 40
    assert not any(map(is_open, lines[:50]))


def test_a_kept_connection_is_used_again(web):
    port, _ = web
    line = http.client.HTTPConnection("::1", port, timeout=60)
    with contextlib.closing(line):
        for _ in range(3):
            line.request("GET", "/livez", headers={"Host": "localhost"})
            response = line.getresponse()
            assert response.status == 200
            assert response.read()
            # As long as a head may take, which counts from its first byte.
            time.sleep(1.5)


def test_limits_per_address_and_the_order_of_closing():
    waiting = WaitingConnections(
        dataclasses.replace(Limits(), web_waiting=4, web_waiting_per_address=2)
    )
    assert [waiting.add(n, "192.0.2.1") for n in (1, 2, 3)] == [None, None, 1]
    waiting.discard(1)
    assert waiting.add(4, "192.0.2.2") is None
    # Behind a proxy, and on loopback, no address is known.
    assert [waiting.add(n, "") for n in (5, 6)] == [None, 2]
    waiting.discard(2)
    waiting.discard(2)
    assert len(waiting) == 4
    for each in (3, 4, 5, 6):
        waiting.discard(each)
    assert len(waiting) == 0


# --- bodies -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        (["Content-Length: 99999999999"], b"begin"),
        (["Content-Length: 300000", "Expect: 100-continue"], b""),
        (["Content-Length: 300000"], b"x" * 300_000),
        (["Transfer-Encoding: chunked"], b"10000\r\n" + b"x" * 65536 + b"\r\n"),
    ],
)
def test_a_body_beyond_the_limit_is_refused_before_it_has_arrived(web, headers, sent):
    port, _ = web
    line = opened(port, head("/healthz", *headers) + sent)
    if "chunked" in headers[0]:
        for _ in range(4):
            line.sendall(sent)
    status, found, problem = status_of(line)
    assert status == 413
    assert "bytes" in problem["detail"]
    assert found["x-request-id"] == problem["requestId"]


def test_a_browser_gets_a_page_for_a_body_beyond_the_limit(web):
    port, _ = web
    asked = ("Content-Length: 99999999999", "Accept: text/html", "Accept-Language: de")
    line = opened(port, head(UPLOAD, *asked))
    answer = b"".join(iter(lambda: line.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 413 ")
    assert "content-type: text/html; charset=utf-8" in answer
    assert '<html lang="de"' in answer


def test_uploads_at_once_are_limited_and_small_bodies_are_not(web):
    port, _ = web
    lines = [opened(port, head(UPLOAD, "Content-Length: 5000000")) for _ in range(2)]
    wait_until_read(port)
    third = opened(port, head(UPLOAD, "Content-Length: 5000000"))
    status, headers, _ = status_of(third)
    assert (status, headers["retry-after"]) == (503, "10")
    small = opened(port, head("/healthz", "Content-Length: 2") + b"{}")
    assert http_status(small) == 405
    lines[0].close()
    wait_until_read(port)
    again = opened(port, head(UPLOAD, "Content-Length: 300000") + b"x" * 300_000)
    # No session and no token of a form: answered by Django, so it was taken.
    assert http_status(again) == 403


def test_a_large_upload_is_not_in_memory(web):
    port, process = web
    size = 60_000_000
    before = peak_memory(process)
    line = opened(port, head(UPLOAD, f"Content-Length: {size}"))
    for _ in range(60):
        line.sendall(b"x" * (size // 60))
    assert http_status(line) == 403
    assert peak_memory(process) - before < 20_000_000


def test_uploads_per_address():
    uploads = Uploads(
        dataclasses.replace(Limits(), web_uploads=3, web_uploads_per_address=1)
    )
    assert [uploads.begin("192.0.2.1") for _ in range(2)] == [True, False]
    assert [uploads.begin("") for _ in range(3)] == [True, True, False]
    uploads.end("")
    assert uploads.begin("192.0.2.2")


# --- responses ---------------------------------------------------------------------------


def test_a_download_is_made_no_faster_than_it_is_read(web):
    port, process = web
    is_served(port)
    before = peak_memory(process)
    line = opened(port, LARGE)
    response = http.client.HTTPResponse(line)
    response.begin()
    # All of it would be made in less time.
    for _ in range(20):
        is_served(port)
    found = sum(len(part) for part in iter(lambda: response.read(1 << 20), b""))
    assert found == 64 << 20
    assert peak_memory(process) - before < 20_000_000


def test_a_caller_that_does_not_read_is_cut_off(web):
    port, _ = web
    stalled = opened(port, LARGE)
    deadline = time.monotonic() + 60
    while _is_connected(stalled):
        assert time.monotonic() < deadline
        is_served(port)


def _is_connected(line) -> bool:
    # The first byte is the state; 1 is "established".
    return line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\x01"


# --- the end -----------------------------------------------------------------------------


def test_the_process_ends_beside_half_requests(web):
    """The last test: the process is that of all others."""
    port, process = web
    for sent in HALF_OPEN.values():
        opened(port, sent)
    process.terminate()
    assert process.wait(8) == 0


def wait_until_read(port) -> None:
    """What was sent before this request has been read when it is answered."""
    is_served(port)


def http_status(line) -> int:
    response = http.client.HTTPResponse(line)
    response.begin()
    return response.status


def peak_memory(process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
