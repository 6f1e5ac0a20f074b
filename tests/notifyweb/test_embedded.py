"""Embedded PostgreSQL and Redis: found or started, shared, stopped by the last user."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import psycopg
import pytest

from notifyweb.embedded import postgres as postgres_module
from notifyweb.embedded.lease import Lease
from notifyweb.embedded.places import LONGEST_SOCKET_FOLDER, Places
from notifyweb.embedded.postgres import Postgres
from notifyweb.embedded.redis import Redis
from notifyweb.environment import SettingError
from tests.system import BASE

USER = """
    import sys
    from pathlib import Path
    from notifyweb.embedded.lease import Lease
    from notifyweb.embedded.places import Places
    from notifyweb.embedded.redis import Redis

    places = Places(Path(sys.argv[1]))
    lease = Lease(places, [Redis(places)])
    lease.enter()
    print("entered", flush=True)
    sys.stdin.readline()
    lease.leave()
    print("left", flush=True)
"""


@pytest.fixture
def places():
    folder = Path(tempfile.mkdtemp(prefix="nw-"))
    yield Places(folder / "data")
    shutil.rmtree(folder)


@pytest.fixture
def another_user(places):
    """Another process that uses the services of ``places`` until told to leave."""
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(USER), str(places.data)],
            cwd=BASE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "entered\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def leave(process):
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "left\n"
    process.wait()


def test_a_cluster_is_made_and_keeps_what_it_was_given(places):
    service = Postgres(places)
    for round_number in (1, 2):
        lease = Lease(places, [service])
        lease.enter()
        with connect(places) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (round int)")
            connection.execute("INSERT INTO kept VALUES (%s)", [round_number])
            rows = connection.execute("SELECT count(*) FROM kept").fetchone()
        lease.leave()
        assert rows == (round_number,)
    assert not service.is_ready()


def test_the_role_of_the_application_is_no_superuser(places):
    lease = Lease(places, [Postgres(places)])
    lease.enter()
    try:
        with connect(places) as connection:
            found = connection.execute(
                "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
            assert found == (False,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("COPY (SELECT 1) TO PROGRAM 'true'")
    finally:
        lease.leave()


def connect(places):
    return psycopg.connect(
        host=str(places.postgres_run), user="notifyweb", dbname="notifyweb"
    )


@pytest.mark.skipif(os.getuid() != 0, reason="about files of root")
def test_nothing_above_the_cluster_is_opened_to_others(places):
    parent = places.data.parent
    parent.chmod(0o700)
    lease = Lease(places, [Postgres(places)])
    lease.enter()
    lease.leave()
    assert parent.stat().st_mode & 0o777 == 0o700
    assert places.data.stat().st_mode & 0o777 == 0o700
    assert places.data.stat().st_uid == 0
    assert places.cluster.stat().st_uid == pwd.getpwnam("nobody").pw_uid


@pytest.mark.skipif(os.getuid() != 0, reason="about privileges of root")
def test_a_missing_capability_is_one_sentence(monkeypatch):
    monkeypatch.setattr(postgres_module, "CAPABILITIES", {"no_such": 62})
    postgres_module._owner_prefix.cache_clear()
    try:
        with pytest.raises(SettingError, match="CAP_DAC_READ_SEARCH"):
            postgres_module._owner_prefix()
    finally:
        postgres_module._owner_prefix.cache_clear()


@pytest.mark.skipif(os.getuid() != 0, reason="about privileges of root")
def test_a_missing_setpriv_is_one_sentence(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    postgres_module._owner_prefix.cache_clear()
    try:
        with pytest.raises(SettingError, match="setpriv"):
            postgres_module._owner_prefix()
    finally:
        postgres_module._owner_prefix.cache_clear()


def test_an_interrupted_first_start_is_made_good(places):
    places.data.mkdir(parents=True)
    (places.data / "postgres.new").mkdir()
    (places.data / "postgres.new" / "PG_VERSION").write_text("half")
    lease = Lease(places, [Postgres(places)])
    lease.enter()
    lease.leave()
    assert not (places.data / "postgres.new").exists()


def test_a_long_path_gets_short_sockets():
    deep = Places(Path("/tmp") / ("d" * 120))  # noqa: S108
    assert len(str(deep.run)) <= LONGEST_SOCKET_FOLDER
    assert deep.run != Places(Path("/tmp") / ("e" * 120)).run  # noqa: S108


def test_the_last_user_stops_what_the_first_one_started(places, another_user):
    first, second = another_user(), another_user()
    leave(first)
    assert Redis(places).is_ready()
    leave(second)
    assert not Redis(places).is_ready()


def test_services_of_a_killed_user_are_found_by_the_next(places, another_user):
    killed = another_user()
    before = redis_pid(places)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert Redis(places).is_ready()
    following = another_user()
    assert redis_pid(places) == before
    leave(following)
    assert not Redis(places).is_ready()


def redis_pid(places):
    with Redis(places)._client() as client:
        return client.info("server")["process_id"]


def test_a_killed_server_is_started_by_the_next_user(places):
    service = Postgres(places)
    lease = Lease(places, [service])
    lease.enter()
    pid = int((places.cluster / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while service.is_ready():
        assert time.monotonic() < deadline
    again = Lease(places, [service])
    again.enter()
    assert service.is_ready()
    again.leave()
    assert service.is_ready(), "the first user is still there"
    lease.leave()
    assert not service.is_ready()


def test_redis_refuses_rather_than_forgets(places):
    lease = Lease(places, [Redis(places)])
    lease.enter()
    try:
        with Redis(places)._client() as client:
            policy = client.config_get("maxmemory-policy")["maxmemory-policy"]
            assert policy == "noeviction"
            assert client.config_get("port")["port"] == "0"
    finally:
        lease.leave()
