"""Backup and restore of the database with PostgreSQL's own tools.

A dump is one consistent snapshot, taken while everything runs. It does not contain the
sealing keys. A restore is all or nothing, even if it is killed: the old tables are kept in a
second schema until the new ones are complete, and as long as that schema exists, it has the
valid data. ``prepare`` and the next restore put it back.
"""

from __future__ import annotations

import functools
import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from psycopg.conninfo import make_conninfo

from accounts import services as accounts
from accounts.models import AccountTombstone
from common.failpoints import failpoint
from notifyweb.embedded.binaries import binaries
from notifyweb.environment import SettingError
from notifyweb.launcher.death_signal import set_pdeathsig
from notifyweb.startup import closed_keychain, unfit_for_migrating

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BEFORE = "before_restore"
REMOVED = ".removed"
# Of the launcher: with it, the next start would leave ``prepare`` out.
PREPARED = "prepared"


def back_up(path: Path) -> int:
    """Write the dump to ``path`` and the removed accounts beside it; return its size."""
    for taken in (path, removed_beside(path)):
        if taken.exists():
            raise SettingError(f"{taken} exists; name another file.")
    # A name of its own: a killed backup may have left a file behind.
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with _private(draft):
            _run(
                "pg_dump",
                "--format=custom",
                "--no-owner",
                "--no-acl",
                f"--file={draft}",
            )
        with _private(removed_beside(path)) as handle:
            handle.write("".join(f"{digest}\n" for digest in sorted(_removed())))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path.stat().st_size


def removed_beside(path: Path) -> Path:
    return path.with_name(path.name + REMOVED)


@contextmanager
def _private(path: Path) -> Iterator[Any]:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise SettingError(f"{path} cannot be written: {error.strerror}.") from None
    with os.fdopen(handle, "w", encoding="ascii") as file:
        yield file


def restore(path: Path, removed: Path | None) -> tuple[int, int]:
    """Replace the database by the dump.

    Returns how many devices were signed out and how many accounts removed again.
    """
    given: set[str] = set()
    for listed in filter(None, (removed, removed_beside(path))):
        if listed.exists():
            given |= set(listed.read_text(encoding="ascii").split())
        elif listed is removed:
            raise SettingError(f"{listed} does not exist.")
    if not path.is_file():
        raise SettingError(f"{path} does not exist.")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        (others,) = cursor.fetchone() or (0,)
    if others:
        raise SettingError(
            f"{others} connections use the database; stop the system before restoring."
        )
    put_back_interrupted()
    digests = given | _removed()
    (settings.DATA_DIR / PREPARED).unlink(missing_ok=True)
    with _put_aside():
        _run("pg_restore", "--no-owner", "--no-acl", "--exit-on-error", str(path))
        failpoint("restore.loaded")
        fault = unfit_for_migrating() or closed_keychain()
        if fault:
            raise SettingError(fault)
        call_command("migrate", interactive=False, verbosity=0)
        devices = accounts.start_generation()
        removed_again = accounts.apply_tombstones(digests)
        failpoint("restore.complete")
    return devices, removed_again


def put_back_interrupted() -> bool:
    """Undo a restore that was killed; whether there was one.

    The session holds a lock from here to its end, so that no other command takes a restore
    that still runs for a killed one.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext('notifyweb restore'))")
        if cursor.fetchone() != (True,):
            raise SettingError("A restore is running; wait until it has ended.")
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [BEFORE])
        if cursor.fetchone() is None:
            return False
    _put_back()
    return True


def _removed() -> set[str]:
    """Digests of removed accounts in the current database; none if it is empty."""
    try:
        return set(AccountTombstone.objects.values_list("digest", flat=True))
    except DatabaseError:
        return set()


@contextmanager
def _put_aside() -> Iterator[None]:
    """Move the current tables aside, and back if the restore fails."""
    # In one transaction, so that a kill leaves either the old schema or both.
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"ALTER SCHEMA public RENAME TO {BEFORE}")
        # Dumps contain no public schema; pg_restore expects one with this owner.
        cursor.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
    try:
        yield
    except BaseException:
        _put_back()
        raise
    with connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA {BEFORE} CASCADE")


@transaction.atomic
def _put_back() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS public CASCADE")
        cursor.execute(f"ALTER SCHEMA {BEFORE} RENAME TO public")


def _run(program: str, *arguments: str) -> None:
    at = settings.DATABASES["default"]
    known = {"host": at["HOST"], "port": at["PORT"], "user": at["USER"]}
    address = make_conninfo(
        dbname=at["NAME"],
        **{name: value for name, value in known.items() if value},
        **dict(settings.DATABASE_ADDRESS.options),
    )
    done = subprocess.run(  # noqa: S603 - the wheel's binary, our arguments
        [str(binaries() / program), f"--dbname={address}", *arguments],
        env={**os.environ, "PGPASSWORD": at["PASSWORD"]},
        # A killed command must not leave a program behind that goes on writing.
        preexec_fn=functools.partial(set_pdeathsig, os.getpid()),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = " ".join(done.stderr.split())[:300]
        raise SettingError(f"{program} failed: {reason}")
