"""Disconnected callers: the database connection of their request is always returned.

A web process of ten pooled connections, a database that makes everybody wait, and a
thousand callers that do not wait. Once the database goes on, the process must serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import psycopg
import pytest
from django.conf import settings
from django.db import connection, transaction
from psycopg import sql
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from accounts import services as accounts
from accounts.services import EventDraft, record_events
from keychain.services import ensure_canary
from notifyweb.embedded.paths import POSTGRES_PORT, ROLE
from notifyweb.launcher.console import Console
from notifyweb.launcher.programs import Program
from notifyweb.launcher.supervisor import Supervisor
from notifyweb.launcher.watchdog import watch_web
from tests.dashboard.conftest import Browser
from tests.notifyweb.slow.urls import GATE
from tests.people import ALICE
from tests.system import BASE, free_port

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]

POOL = 10
CALLERS = 150
AT_ONCE = 50
DISCONNECT_AFTER_S = 0.1
# Daphne cancels a running request five seconds after its caller disconnected, and once a
# second from then on.
CANCELLED_AFTER_S = 8.0
BACK_WITHIN_S = 15.0
READY_S = 60.0


@dataclass(frozen=True)
class Site:
    port: int

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(line):
            line.request("GET", path, headers={"Host": "localhost", **headers})
            answer = line.getresponse()
            return answer.status, answer.read()


@pytest.fixture
def program(redis_client) -> Program:
    """The web process of ``tests.notifyweb.slow``, on a free port."""
    ensure_canary()
    port = free_port()
    return Program(
        name="web",
        arguments=(sys.executable, "-m", "tests.notifyweb.slow", str(port)),
        environment={
            "SLOW_PORT": str(port),
            "SLOW_DATABASE": connection.settings_dict["NAME"],
            "SLOW_REDIS_URL": settings.REDIS_URL,
            # Longer than Daphne lets a request run whose caller has disconnected.
            "NOTIFYWEB_LOCK_TIMEOUT_MS": "60000",
            "NOTIFYWEB_STATEMENT_TIMEOUT_MS": "60000",
        },
        folder=BASE,
    )


@pytest.fixture
def site(program, tmp_path):
    with (tmp_path / "site.log").open("wb") as log:
        process = subprocess.Popen(
            program.arguments,
            cwd=program.folder,
            env=os.environ | program.environment,
            stdout=log,
            stderr=log,
        )
    found = Site(int(program.environment["SLOW_PORT"]))
    try:
        wait_for(lambda: found.get("/slow/query")[0] == 200, READY_S)
        yield found
    finally:
        process.terminate()
        process.wait(30)


def wait_for(holds, within: float) -> None:
    until = time.monotonic() + within
    while True:
        with contextlib.suppress(
            OSError, http.client.HTTPException, WebSocketException
        ):
            if holds():
                return
        assert time.monotonic() < until, f"not so within {within} s"
        time.sleep(0.2)


@contextlib.contextmanager
def stalled(statement: sql.Composable | str):
    """Hold the locks of ``statement``, so that other sessions wait for them."""
    with psycopg.connect(
        host=str(settings.EMBEDDED_PATHS.postgres_run),
        port=POSTGRES_PORT,
        user=ROLE,
        dbname=connection.settings_dict["NAME"],
    ) as holder:
        holder.execute(statement)
        yield
        holder.rollback()


def gate():
    return stalled(sql.SQL("SELECT pg_advisory_xact_lock({})").format(GATE))


def locked(name: str):
    return stalled(sql.SQL("LOCK TABLE {}").format(sql.Identifier(name)))


async def call_and_disconnect(port: int, path: str, cookie: str = "") -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode()
    )
    await writer.drain()
    await asyncio.sleep(DISCONNECT_AFTER_S)
    writer.transport.abort()


async def abandon(port: int, path: str, cookie: str = "") -> None:
    for _ in range(CALLERS // AT_ONCE):
        callers = (call_and_disconnect(port, path, cookie) for _ in range(AT_ONCE))
        await asyncio.gather(*callers)


def assert_serves(site: Site) -> None:
    """As many pages at once as there are connections, several times."""

    async def page() -> int:
        return (await asyncio.to_thread(site.get, "/slow/query"))[0]

    async def pages() -> list[int]:
        return await asyncio.gather(*(page() for _ in range(POOL)))

    wait_for(lambda: set(asyncio.run(pages())) == {200}, BACK_WITHIN_S)
    for _ in range(3):
        assert set(asyncio.run(pages())) == {200}


@pytest.mark.parametrize(
    "path",
    [
        "/slow/query",
        "/slow/in-transaction",
        "/slow/from-coroutine",
        "/slow/stream",
        "/slow/coroutine-stream",
    ],
)
def test_requests_abandoned_in_a_query_give_their_connections_back(site, path):
    with gate():
        asyncio.run(abandon(site.port, path))
        time.sleep(CANCELLED_AFTER_S)
        assert site.get("/healthz")[0] == 200
    assert_serves(site)


@pytest.fixture
def cookie(redis_client) -> str:
    browser = Browser().sign_in(ALICE)
    return f"{settings.SESSION_COOKIE_NAME}={browser.session_key}"


def test_requests_abandoned_before_the_view_give_their_connections_back(site, cookie):
    assert site.get("/inbox", Cookie=cookie)[0] == 200
    with locked("django_session"):
        asyncio.run(abandon(site.port, "/inbox", cookie))
        time.sleep(CANCELLED_AFTER_S)
        assert site.get("/healthz")[0] == 200
    assert_serves(site)
    assert site.get("/inbox", Cookie=cookie)[0] == 200


def test_sockets_abandoned_while_they_catch_up_give_their_connections_back(
    site, cookie
):
    account = ALICE.row()
    with transaction.atomic():
        record_events(
            [EventDraft(account.pk, "test", str(n)) for n in range(CALLERS + 1)]
        )
    head = accounts.head_of(account.user_id)

    def line():
        return connect(
            f"ws://localhost:{site.port}/ws/device/",
            host="127.0.0.1",
            origin="http://localhost:8000",
            additional_headers={"Cookie": cookie},
        )

    async def resume(socket, behind: int) -> None:
        frame = {"generation": str(head.generation), "sequence": head.sequence - behind}
        await socket.send(json.dumps({"type": "resume", **frame}))

    async def resume_and_disconnect(behind: int) -> None:
        # While every thread of the sockets waits, the next handshake may not end.
        with contextlib.suppress(OSError, WebSocketException):
            async with line() as socket:
                await resume(socket, behind)
                await asyncio.sleep(DISCONNECT_AFTER_S)
                socket.transport.abort()

    async def abandon_sockets() -> None:
        for first in range(1, CALLERS, AT_ONCE):
            # Different sequence numbers, so that no socket shares the query of another.
            numbers = range(first, first + AT_ONCE)
            await asyncio.gather(*(resume_and_disconnect(number) for number in numbers))

    async def is_caught_up() -> bool:
        async with asyncio.timeout(BACK_WITHIN_S), line() as socket:
            await resume(socket, 1)
            return json.loads(await socket.recv())["type"] == "events"

    with locked("accounts_accountevent"):
        asyncio.run(abandon_sockets())
        time.sleep(CANCELLED_AFTER_S)
        assert site.get("/healthz")[0] == 200
    assert_serves(site)
    # Until the last abandoned handshake has ended, the user may have too many sockets.
    wait_for(lambda: asyncio.run(is_caught_up()), BACK_WITHIN_S)


# --- leaked connections ----------------------------------------------------------------


def test_only_livez_fails_while_pages_get_no_connection(site):
    for _ in range(POOL):
        assert site.get("/slow/leak") == (200, b"taken")
    assert site.get("/slow/query")[0] == 503
    assert site.get("/healthz")[0] == 200
    assert b'"postgres": {"ok": true' in site.get("/readyz")[1]
    assert site.get("/livez")[0] == 503


async def test_a_web_process_whose_pages_get_no_connection_is_restarted(program):
    port = int(program.environment["SLOW_PORT"])
    site = Site(port)
    supervisor = Supervisor(program, Console())
    running = supervisor.start()
    watching = asyncio.create_task(
        watch_web(supervisor, Console(), host="127.0.0.1", port=port, max_unhealthy_s=4)
    )
    ready = functools.partial(wait_for, lambda: site.get("/slow/query")[0] == 200)
    try:
        await asyncio.to_thread(ready, READY_S)
        first = supervisor.pid
        for _ in range(POOL):
            await asyncio.to_thread(site.get, "/slow/leak")
        await asyncio.to_thread(ready, READY_S)
        assert supervisor.pid != first
    finally:
        watching.cancel()
        await supervisor.stop(force=asyncio.Event())
        await running
