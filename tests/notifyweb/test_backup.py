"""Backup while running, restore all or nothing, and what must not come back."""

from __future__ import annotations

import json
import shutil

import pytest

from notifyweb.embedded.lease import Lease
from notifyweb.embedded.paths import Paths
from notifyweb.embedded.postgres import Postgres
from notifyweb.embedded.redis import Redis
from tests.system import System

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
def resting():
    """A prepared system that does not run: commands start its services."""
    found = System()
    places = Paths(found.data_dir / "data")
    found.manage("check")  # makes the secrets
    # Held for all commands, so that each need not start PostgreSQL anew.
    lease = Lease(places, [Postgres(places, durable=False), Redis(places)])
    lease.enter()
    try:
        found.manage("migrate")
        found.manage("shell", "--no-imports", "-c", MAKE)
        yield found
    finally:
        lease.leave()
        found.remove()


def said(system, code):
    return system.manage("shell", "--no-imports", "-c", code).stdout.strip()


@pytest.fixture(scope="module")
def dump(resting):
    path = resting.data_dir / "backup"
    found = json.loads(resting.manage("backup", str(path), "--json").stdout)
    assert found == {"file": str(path), "bytes": path.stat().st_size}
    return path


def test_a_backup_is_private_and_holds_no_sealing_key(resting, dump):
    assert dump.stat().st_mode & 0o777 == 0o600
    keys = (resting.data_dir / "data" / "keychain_keys").read_text()
    assert keys.partition(":")[2].strip().encode() not in dump.read_bytes()


def test_a_backup_overwrites_nothing(resting, dump):
    refused = resting.manage("backup", str(dump), check=False)
    assert refused.returncode == 2
    assert "exists" in refused.stderr


def test_what_was_deleted_since_is_back_and_browsers_start_over(resting, dump):
    before = said(resting, GENERATION)
    said(resting, "from accounts.models import User; User.objects.all().delete()")
    assert said(resting, COUNT) == "0"
    resting.manage("restore", str(dump))
    assert said(resting, COUNT) == "2"
    assert said(resting, GENERATION) != before


def test_a_broken_backup_changes_nothing(resting, dump, tmp_path):
    broken = tmp_path / "broken"
    broken.write_bytes(dump.read_bytes()[:2000])
    refused = resting.manage("restore", str(broken), check=False)
    assert refused.returncode == 2
    assert "pg_restore failed" in refused.stderr
    assert said(resting, COUNT) == "2"


def test_a_backup_of_other_keys_changes_nothing(resting, dump):
    folder = resting.data_dir / "data"
    kept = folder / "keychain_keys"
    other = "k1:" + "A" * 43 + "="
    shutil.copy(kept, folder / "kept")
    kept.write_text(other)
    refused = resting.manage("restore", str(dump), check=False)
    shutil.copy(folder / "kept", kept)
    assert refused.returncode == 2
    assert "sealed by key k1" in refused.stderr
    assert said(resting, COUNT) == "2"


def test_an_account_removed_since_stays_removed(resting, tmp_path):
    said(
        resting,
        "from accounts.models import User, Account\n"
        "from common import clock\n"
        "u = User.objects.create(username='charlie')\n"
        "Account.objects.create(user=u, address='eip155:1:0x' + 'c' * 40, "
        "created_at=clock.now())",
    )
    path = tmp_path / "with-charlie"
    resting.manage("backup", str(path))
    said(
        resting,
        "from accounts import services\n"
        "services.remove_account(services.find_account('eip155:1:0x' + 'c' * 40), "
        "by=None)",
    )
    restored = json.loads(resting.manage("restore", str(path), "--json").stdout)
    assert restored["accounts_removed_again"] == 1
    assert said(resting, COUNT) == "2"


@pytest.mark.system
def test_a_running_system_is_backed_up_but_not_restored_over(system, tmp_path):
    path = tmp_path / "live"
    system.manage("backup", str(path))
    refused = system.manage("restore", str(path), check=False)
    assert refused.returncode == 2
    assert "stop the system before restoring" in refused.stderr
    assert system.readiness()[0] == 200
