"""A database behind PgBouncer: pooled sessions work, pooled transactions are refused."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from psycopg import sql

from notifyweb import startup
from notifyweb.embedded.paths import POSTGRES_PORT, ROLE
from tests.system import System, free_port, tcp_port_to

pytestmark = pytest.mark.system

NOT_ROOT = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.fixture
def postgres_port(embedded_services):
    """The embedded PostgreSQL on a TCP port: PgBouncer may not reach its socket."""
    path = f"{settings.EMBEDDED_PATHS.postgres_run}/.s.PGSQL.{POSTGRES_PORT}"
    with tcp_port_to(path) as port:
        yield port


@pytest.fixture
def bouncer(postgres_port):
    """A function that starts PgBouncer with given settings and returns its port."""
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        pytest.skip("Debian's pgbouncer is not installed")
    # Not in pytest's folders, which PgBouncer's user cannot enter.
    folder = Path(tempfile.mkdtemp(prefix="nw-pooler-"))
    folder.chmod(0o755)
    started = []

    def start(**changes: str) -> int:
        port = free_port()
        options = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(port),
            "auth_type": "any",
            "unix_socket_dir": "",
            "max_client_conn": "300",
            "default_pool_size": "60",
        } | changes
        lines = [f"{name} = {value}" for name, value in options.items()]
        target = f"* = host=127.0.0.1 port={postgres_port} user={ROLE}"
        file = folder / f"{port}.ini"
        file.write_text("\n".join(["[databases]", target, "[pgbouncer]", *lines, ""]))
        file.chmod(0o644)
        as_user = NOT_ROOT if os.getuid() == 0 else []
        started.append(subprocess.Popen([*as_user, program, "-q", str(file)]))
        until = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                return port
            assert time.monotonic() < until
            time.sleep(0.05)

    yield start
    for process in started:
        process.terminate()
        process.wait(20)
    shutil.rmtree(folder)


@pytest.fixture
def through(bouncer, monkeypatch):
    """A function that points ``DATABASES`` to a PgBouncer with given settings."""

    def change(**options: str) -> dict[str, object]:
        found = settings.DATABASES["default"] | {
            "NAME": connection.settings_dict["NAME"],
            "HOST": "127.0.0.1",
            "PORT": str(bouncer(**options)),
        }
        monkeypatch.setitem(settings.DATABASES, "default", found)
        return found

    return change


def use_sessions(database, count: int) -> None:
    """Open ``count`` sessions that stay idle in the pooler."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            session = psycopg.connect(
                host="127.0.0.1",
                port=database["PORT"],
                dbname=database["NAME"],
                user=ROLE,
            )
            stack.enter_context(session).execute("SELECT 1")


@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("idle", [0, 1, 2, 3, 4, 8])
@pytest.mark.parametrize("in_turn", ["0", "1"])
def test_transaction_pooling_is_detected(through, mode, idle, in_turn):
    database = through(pool_mode="transaction", server_round_robin=in_turn)
    if mode == "statement":
        database = through(pool_mode=mode, server_round_robin=in_turn)
        idle = 0
    use_sessions(database, idle)
    assert startup.shared_sessions() == startup.POOLS_TRANSACTIONS


@pytest.mark.django_db
def test_session_pooling_and_a_direct_connection_are_accepted(through):
    assert startup.shared_sessions() == ""
    database = through(pool_mode="session")
    use_sessions(database, 3)
    assert startup.shared_sessions() == ""


@pytest.mark.django_db
def test_a_pooler_with_too_few_sessions_is_refused(through, monkeypatch):
    monkeypatch.setattr(startup, "SESSIONS_TIMEOUT_S", 2.0)
    through(pool_mode="session", default_pool_size="2")
    assert "larger pool" in startup.shared_sessions()


@pytest.fixture
def outside(bouncer):
    """A system on a fresh database behind a PgBouncer of the given mode."""
    name = f"test_{os.getpid()}_pooled"
    here = {"host": str(settings.EMBEDDED_PATHS.postgres_run), "port": POSTGRES_PORT}
    statement = sql.SQL("{} DATABASE {}")
    running = []

    def run(action: str) -> None:
        with psycopg.connect(
            **here, user=ROLE, dbname="notifyweb", autocommit=True
        ) as line:
            line.execute(statement.format(sql.SQL(action), sql.Identifier(name)))

    def start(mode: str) -> System:
        run("CREATE")
        port = bouncer(pool_mode=mode)
        system = System(
            DATABASE_URL=f"postgres://{ROLE}@127.0.0.1:{port}/{name}",
            SECRET_KEY="x" * 50,
            KEYCHAIN_KEYS="k1:" + base64.b64encode(bytes(32)).decode(),
            NOTIFYWEB_DEMO="0",
            ALLOWED_HOSTS="localhost,127.0.0.1",
        )
        running.append(system)
        system.launch()
        return system

    yield start
    for system in running:
        system.remove()
    with psycopg.connect(
        **here, user=ROLE, dbname="notifyweb", autocommit=True
    ) as line:
        line.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(
                sql.Identifier(name)
            )
        )


def test_a_system_on_transaction_pooling_exits_with_one_sentence(outside):
    system = outside("transaction")
    assert system.wait_for_end(60) == 2
    assert startup.POOLS_TRANSACTIONS in system.output()


def test_a_system_on_session_pooling_works(outside):
    system = outside("session")
    system.wait_until_ready()
    # Two heartbeats of the worker, and every sweep once.
    until = time.monotonic() + 30
    while time.monotonic() < until:
        assert system.readiness()[0] == 200
        time.sleep(1)
    assert system.get("/signin")[0] == 200
    for complaint in ("statement failed", "lost its lock", "Traceback"):
        assert complaint not in system.output()
