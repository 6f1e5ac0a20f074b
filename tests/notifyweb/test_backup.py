"""Backup while running, restore all or nothing, removed accounts stay removed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from notifyweb.embedded.lease import Lease
from notifyweb.embedded.paths import DATABASE, ROLE, Paths
from notifyweb.embedded.postgres import Postgres
from notifyweb.embedded.redis import Redis
from tests.messaging.conftest import wait_for
from tests.system import BASE, System

pytestmark = pytest.mark.system

MAKE = """
from accounts.models import User
for name in ("alice", "bob"):
    user = User.objects.create(username=name)
"""
COUNT = "from accounts.models import User; print(User.objects.count())"
GENERATION = (
    "from accounts.models import User; "
    "print(User.objects.get(username='alice').event_generation)"
)


@pytest.fixture(scope="module")
def stopped_system():
    """A prepared but stopped system, whose commands start its services."""
    found = System()
    places = Paths(found.data_dir / "data")
    # One lease for all commands, so that not each of them starts PostgreSQL.
    lease = Lease(places, [Postgres(places, durable=False), Redis(places)])
    lease.enter()
    try:
        found.manage("shell", "--no-imports", "-c", MAKE)
        yield found
    finally:
        lease.leave()
        found.remove()


def shell_output(system, code):
    return system.manage("shell", "--no-imports", "-c", code).stdout.strip()


@pytest.fixture(scope="module")
def dump(stopped_system):
    path = stopped_system.data_dir / "backup"
    found = json.loads(stopped_system.manage("backup", str(path), "--json").stdout)
    assert found == {"file": str(path), "bytes": path.stat().st_size}
    return path


def test_a_backup_is_private_and_contains_no_sealing_key(stopped_system, dump):
    assert dump.stat().st_mode & 0o777 == 0o600
    keys = (stopped_system.data_dir / "data" / "keychain_keys").read_text()
    assert keys.partition(":")[2].strip().encode() not in dump.read_bytes()


def test_a_backup_overwrites_nothing(stopped_system, dump):
    refused = stopped_system.manage("backup", str(dump), check=False)
    assert refused.returncode == 2
    assert "exists" in refused.stderr


def test_deleted_rows_are_restored_and_browsers_start_over(stopped_system, dump):
    before = shell_output(stopped_system, GENERATION)
    shell_output(
        stopped_system, "from accounts.models import User; User.objects.all().delete()"
    )
    assert shell_output(stopped_system, COUNT) == "0"
    stopped_system.manage("restore", str(dump))
    assert shell_output(stopped_system, COUNT) == "2"
    assert shell_output(stopped_system, GENERATION) != before


def test_a_broken_backup_changes_nothing(stopped_system, dump, tmp_path):
    broken = tmp_path / "broken"
    broken.write_bytes(dump.read_bytes()[:2000])
    refused = stopped_system.manage("restore", str(broken), check=False)
    assert refused.returncode == 2
    assert "pg_restore failed" in refused.stderr
    assert shell_output(stopped_system, COUNT) == "2"


@pytest.mark.parametrize("failpoint", ["restore.loaded", "restore.complete"])
def test_a_killed_restore_changes_nothing(stopped_system, dump, failpoint):
    """Another database is loaded by then, or even complete, but the command never ended."""
    shell_output(
        stopped_system,
        "from accounts.models import User; User.objects.create(username='later')",
    )
    kill = dict(stopped_system.environment, NOTIFYWEB_FAILPOINTS=failpoint)
    before, stopped_system.environment = stopped_system.environment, kill
    try:
        killed = stopped_system.manage("restore", str(dump), check=False)
    finally:
        stopped_system.environment = before
    assert killed.returncode == -signal.SIGKILL
    refused = stopped_system.manage("gateway", check=False)
    assert refused.returncode == 2
    assert "manage.py prepare" in refused.stderr
    prepared = stopped_system.manage("prepare", "--no-static")
    assert "the old data is back" in prepared.stdout
    assert shell_output(stopped_system, COUNT) == "3"
    # The next restore does not need ``prepare``.
    stopped_system.environment = kill
    try:
        stopped_system.manage("restore", str(dump), check=False)
    finally:
        stopped_system.environment = before
    stopped_system.manage("restore", str(dump))
    assert shell_output(stopped_system, COUNT) == "2"


def test_a_killed_backup_leaves_no_program_behind(stopped_system, tmp_path):
    """The dump waits for a table that is locked; meanwhile the command is killed."""
    path = tmp_path / "killed"
    paths = Paths(stopped_system.data_dir / "data")
    with psycopg.connect(
        host=str(paths.postgres_run), port=5432, user=ROLE, dbname=DATABASE
    ) as blocker:
        blocker.execute("LOCK TABLE accounts_user IN ACCESS EXCLUSIVE MODE")
        command = subprocess.Popen(
            [sys.executable, "manage.py", "backup", str(path)],
            cwd=BASE,
            env=stopped_system.environment,
        )
        with command:
            wait_for(lambda: dumps_of(path), what="the dump")
            command.kill()
        wait_for(lambda: not dumps_of(path), what="the end of the dump")
    assert not path.exists()
    found = json.loads(stopped_system.manage("backup", str(path), "--json").stdout)
    assert found["bytes"] == path.stat().st_size


def dumps_of(path):
    """Running programs of PostgreSQL that write beside ``path``."""
    return [
        entry
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal()
        and (words := read_bytes(entry / "cmdline").split(b"\0"))[0].endswith(
            b"pg_dump"
        )
        and any(str(path).encode() in word for word in words)
    ]


def read_bytes(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_backup_sealed_with_other_keys_changes_nothing(stopped_system, dump):
    folder = stopped_system.data_dir / "data"
    kept = folder / "keychain_keys"
    other = "k1:" + "A" * 43 + "="
    shutil.copy(kept, folder / "kept")
    kept.write_text(other)
    refused = stopped_system.manage("restore", str(dump), check=False)
    shutil.copy(folder / "kept", kept)
    assert refused.returncode == 2
    assert "sealed by key k1" in refused.stderr
    assert shell_output(stopped_system, COUNT) == "2"


def test_an_account_removed_after_the_backup_stays_removed(stopped_system, tmp_path):
    shell_output(
        stopped_system,
        "from accounts.models import User, Account\n"
        "from common import clock\n"
        "u = User.objects.create(username='charlie')\n"
        "Account.objects.create(user=u, address='eip155:1:0x' + 'c' * 40, "
        "created_at=clock.now())",
    )
    path = tmp_path / "with-charlie"
    stopped_system.manage("backup", str(path))
    shell_output(
        stopped_system,
        "from accounts import services\n"
        "services.remove_account(services.find_account('eip155:1:0x' + 'c' * 40), "
        "by=None)",
    )
    restored = json.loads(stopped_system.manage("restore", str(path), "--json").stdout)
    assert restored["accounts_removed_again"] == 1
    assert shell_output(stopped_system, COUNT) == "2"


def test_a_running_system_can_be_backed_up_but_not_restored(system, tmp_path):
    path = tmp_path / "live"
    system.manage("backup", str(path))
    refused = system.manage("restore", str(path), check=False)
    assert refused.returncode == 2
    assert "stop the system before restoring" in refused.stderr
    assert system.readiness()[0] == 200
