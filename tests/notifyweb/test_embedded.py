"""Embedded PostgreSQL and Redis: found or started, shared, stopped by the last user."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import redis

from notifyweb.doctor import databases
from notifyweb.embedded import binaries as binaries_module
from notifyweb.embedded import postgres as postgres_module
from notifyweb.embedded.lease import Lease
from notifyweb.embedded.owner import cluster_owner
from notifyweb.embedded.paths import MAX_SOCKET_FOLDER_LENGTH, Paths
from notifyweb.embedded.postgres import Postgres
from notifyweb.embedded.redis import Redis, binary, wheel_binary
from notifyweb.environment import SettingError
from tests.system import BASE

pytestmark = pytest.mark.system

USER = """
    import sys
    from pathlib import Path
    from notifyweb.embedded.lease import Lease
    from notifyweb.embedded.paths import Paths
    from notifyweb.embedded.redis import Redis

    places = Paths(Path(sys.argv[1]))
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
    yield Paths(folder / "data")
    shutil.rmtree(folder)


@pytest.fixture
def another_user(places):
    """Another process that uses the services of ``places`` until it is asked to stop."""
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


@pytest.fixture
def shared_folder():
    """A folder of root's that every user can pass, unlike those of ``tmp_path``."""
    folder = Path(tempfile.mkdtemp(prefix="nw-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def hidden_wheel(shared_folder, monkeypatch):
    """The wheel's server below a folder of mode 0700, and an empty place for copies."""
    wheel = binaries_module.binaries()
    site = wheel.parents[2]
    hidden = shared_folder / "private" / "site-packages"
    for name in binaries_module._files_of_server(site, wheel.parent):
        (hidden / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(site / name, hidden / name)
    hidden.parent.chmod(0o700)
    found = hidden / wheel.relative_to(site)
    monkeypatch.setattr(binaries_module, "binaries", lambda: found)
    monkeypatch.setattr(binaries_module, "COPY_FOLDERS", (shared_folder / "copies",))
    postgres_module._binaries.cache_clear()
    yield found
    postgres_module._binaries.cache_clear()


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="about privileges of root")


@needs_root
def test_root_starts_a_wheel_that_others_cannot_reach(places, hidden_wheel):
    """Nothing is opened, and the server holds no capability."""
    places.data.parent.chmod(0o700)
    lease = Lease(places, [Postgres(places)])
    lease.enter()
    try:
        with connect(places) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        pid = (places.cluster / "postmaster.pid").read_text().split()[0]
        status = Path(f"/proc/{pid}/status").read_text()
        assert f"Uid:\t{pwd.getpwnam('nobody').pw_uid}\t" in status
        for kind in ("CapPrm", "CapEff", "CapAmb"):
            assert re.search(rf"^{kind}:\s+0+$", status, re.MULTILINE)
    finally:
        lease.leave()
    assert places.data.parent.stat().st_mode & 0o777 == 0o700
    assert hidden_wheel.parents[3].stat().st_mode & 0o777 == 0o700


@needs_root
def test_a_wheel_within_reach_is_not_copied(shared_folder, monkeypatch, hidden_wheel):
    hidden_wheel.parents[3].chmod(0o755)
    assert binaries_module.binaries_for(cluster_owner()) == hidden_wheel
    assert not (shared_folder / "copies").exists()


@needs_root
def test_the_copy_is_made_once_and_made_whole_again(hidden_wheel, shared_folder):
    first = binaries_module.binaries_for(cluster_owner())
    made = (first / "postgres").stat().st_ino
    assert binaries_module.binaries_for(cluster_owner()) == first
    assert (first / "postgres").stat().st_ino == made
    next((first.parent / "share").rglob("Tokyo")).unlink()
    assert binaries_module.binaries_for(cluster_owner()) == first
    assert list((first.parent / "share").rglob("Tokyo"))
    assert [path.name for path in (shared_folder / "copies").iterdir()] == [
        first.parents[2].name
    ]


@needs_root
def test_starts_at_once_share_one_copy(hidden_wheel, shared_folder):
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(binaries_module.binaries_for, [cluster_owner()] * 8))
    assert len(found) == 1
    assert len(list((shared_folder / "copies").iterdir())) == 1


@needs_root
@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_no_umask_opens_or_closes_the_copy(hidden_wheel, mask):
    before = os.umask(mask)
    try:
        copy = binaries_module.binaries_for(cluster_owner())
    finally:
        os.umask(before)
    for path in copy.parents[2].rglob("*"):
        assert path.stat().st_mode & 0o022 == 0
        assert path.stat().st_mode & 0o004


@needs_root
def test_copies_of_other_versions_go_unless_a_server_runs_from_them(
    hidden_wheel, shared_folder
):
    copies = shared_folder / "copies"
    for name in ("postgres-0.0.1-old", "postgres-0.0.2-running"):
        (copies / name).mkdir(parents=True)
    sleep = shutil.copy(shutil.which("sleep"), copies / "postgres-0.0.2-running")
    with subprocess.Popen([sleep, "60"]) as running:
        copy = binaries_module.binaries_for(cluster_owner())
        running.kill()
    assert {path.name for path in copies.iterdir()} == {
        "postgres-0.0.2-running",
        copy.parents[2].name,
    }


@needs_root
@pytest.mark.parametrize("planted", ["link", "folder of another user", "open folder"])
def test_a_copy_is_never_made_where_others_can_change_it(
    hidden_wheel, shared_folder, planted
):
    copies, elsewhere = shared_folder / "copies", shared_folder / "elsewhere"
    elsewhere.mkdir()
    if planted == "link":
        copies.symlink_to(elsewhere)
    else:
        copies.mkdir()
        copies.chmod(0o777 if planted == "open folder" else 0o755)
    if planted == "folder of another user":
        os.chown(copies, pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(SettingError, match="cannot be run by an unprivileged user"):
        binaries_module.binaries_for(cluster_owner())
    assert list(copies.iterdir()) == list(elsewhere.iterdir()) == []


def test_the_socket_folder_of_an_earlier_version_is_replaced(places):
    places.postgres_run.mkdir(parents=True)
    (places.postgres_run / ".s.PGSQL.5432.lock").write_text("1")
    lease = Lease(places, [Postgres(places)])
    lease.enter()
    lease.leave()
    assert places.postgres_run.readlink() == places.cluster


def test_an_interrupted_first_start_is_made_good(places):
    places.data.mkdir(parents=True)
    (places.data / "postgres.new").mkdir()
    (places.data / "postgres.new" / "PG_VERSION").write_text("half")
    lease = Lease(places, [Postgres(places)])
    lease.enter()
    lease.leave()
    assert not (places.data / "postgres.new").exists()


@pytest.mark.parametrize(
    "name", ["with space", "ünïcödé", "d" * 150, "a#b?c%20d,e'f\"g\\h$i:j@k"]
)
def test_services_start_in_a_folder_of_any_name(places, name):
    odd = Paths(places.data / name)
    services = [Postgres(odd), Redis(odd)]
    lease = Lease(odd, services)
    lease.enter()
    try:
        with connect(odd) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with redis.Redis.from_url(f"unix://{odd.redis_socket}") as client:
            assert client.ping()
    finally:
        lease.leave()
        if not odd.run.is_relative_to(odd.data):
            shutil.rmtree(odd.run)
    assert not any(service.is_ready() for service in services)


def test_sockets_are_found_whatever_differs_between_two_shells(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    (tmp_path / "link").symlink_to(deep)
    found = Paths(deep).run
    assert len(str(found)) <= MAX_SOCKET_FOLDER_LENGTH
    assert found != Paths(tmp_path / ("e" * 120)).run
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert Paths(deep).run == Paths(tmp_path / "link").run == found


def test_a_planted_link_is_not_followed_for_sockets(tmp_path):
    long = Paths(tmp_path / ("d" * 120))
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    long.run.symlink_to(target)
    try:
        with pytest.raises(SettingError, match="belongs to another user"):
            Lease(long, [Redis(long)]).enter()
    finally:
        long.run.unlink()
    assert target.stat().st_mode & 0o777 == 0o755
    assert list(target.iterdir()) == []


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


@pytest.fixture
def system_server(tmp_path, monkeypatch):
    """``system_server(name, version)``: a server on the PATH that reports this version."""

    def system_server(name, version):
        path = tmp_path / name
        wheel = wheel_binary()
        path.write_text(
            "#!/bin/sh\n"
            f'if [ "$1" = --version ]; then echo "Server v={version} sha=0"; exit; fi\n'
            f'exec {wheel} "$@"\n'
        )
        path.chmod(0o755)
        return path

    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    binary.cache_clear()
    yield system_server
    binary.cache_clear()


@pytest.mark.parametrize(
    ("servers", "chosen"),
    [
        ({"redis-server": "7.2.5"}, "redis-server"),
        ({"redis-server": "8.0.1"}, "redis-server"),
        ({"valkey-server": "7.2.9"}, "valkey-server"),
        ({"valkey-server": "8.1.0", "redis-server": "8.2.0"}, "valkey-server"),
        # Valkey is too old or broken, Redis is not.
        ({"valkey-server": "7.0.1", "redis-server": "10.0.0"}, "redis-server"),
        ({"valkey-server": "none", "redis-server": "7.4.0"}, "redis-server"),
        ({"redis-server": "7.0.15"}, None),
        ({"redis-server": "6.2.20"}, None),
    ],
)
def test_a_newer_server_of_the_system_is_started(
    places, system_server, servers, chosen
):
    paths = {name: system_server(name, version) for name, version in servers.items()}
    wanted = wheel_binary() if chosen is None else paths[chosen]
    if Path("/bin/redis-server").exists() and "redis-server" not in paths:
        system_server("redis-server", "0.0.0")
    assert binary() == wanted
    assert Redis(places).command()[0] == str(wanted)


def test_what_it_starts_serves(places, system_server):
    system_server("valkey-server", "8.0.0")
    lease = Lease(places, [Redis(places)])
    lease.enter()
    try:
        assert Redis(places).is_ready()
    finally:
        lease.leave()


def test_the_doctor_names_the_server_that_runs(redis_client, settings):
    (version,) = [
        each.state for each in databases.redis() if each.name == "redis version"
    ]
    running = Path(redis_client.info("server")["executable"])
    assert version.endswith(
        "of the wheel" if running == wheel_binary() else str(running)
    )
