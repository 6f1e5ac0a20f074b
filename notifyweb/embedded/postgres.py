"""The embedded PostgreSQL: the wheel's own binaries, under the right owner.

The wheel's Python part makes a system user and opens every parent folder of the cluster
when root starts it. Here the cluster alone belongs to another user (``owner``), and
nothing else is changed.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from notifyweb.embedded.binaries import binaries_for
from notifyweb.embedded.owner import (
    WORKING_DIRECTORY,
    cluster_owner,
    give,
    popen_arguments,
)
from notifyweb.embedded.paths import DATABASE, POSTGRES_PORT, ROLE, SUPERUSER
from notifyweb.environment import SettingError

if TYPE_CHECKING:
    from notifyweb.embedded.owner import Owner
    from notifyweb.embedded.paths import Paths

CONNECT_TIMEOUT_S = 2
LAST_BACKENDS_S = 5.0


@functools.cache
def _binaries() -> Path:
    return binaries_for(cluster_owner())


@dataclass(frozen=True, slots=True)
class Postgres:
    """One cluster and how to run it. ``durable=False`` is for tests."""

    places: Paths
    durable: bool = True

    name = "postgres"

    @property
    def folder(self) -> Path:
        return self.places.cluster

    @property
    def owner(self) -> Owner | None:
        return cluster_owner()

    def prepare(self) -> None:
        """Make the cluster and the way to its socket, if they are not there."""
        # A copy of the programs may have been removed since.
        _binaries.cache_clear()
        if not (self.places.cluster / "PG_VERSION").exists():
            self._initialise()
        self._link_socket_folder()
        self._forget_killed_server()

    def _link_socket_folder(self) -> None:
        """The socket is in the cluster, the only folder that its owner can reach."""
        link = self.places.postgres_run
        if link.is_symlink() and link.readlink() == self.places.cluster:
            return
        if link.is_symlink():
            link.unlink()
        elif link.exists():
            # A folder of sockets, as earlier versions made it.
            shutil.rmtree(link)
        link.symlink_to(self.places.cluster)

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
            if not _is_working_directory(self.places.cluster):
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
        give(draft, self.owner)
        made = self._run_in(
            draft,
            "initdb",
            *("-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C"),
            "--no-instructions",
        )
        if made.returncode:
            reason = (made.stderr or made.stdout).strip().splitlines()[-1:]
            raise SettingError(f"PostgreSQL's initdb failed: {' '.join(reason)}")
        draft.rename(self.places.cluster)

    def command(self) -> list[str]:
        """The server in the foreground, to be started in ``folder`` as ``owner``."""
        options = {
            "listen_addresses": "",
            "port": str(POSTGRES_PORT),
            "unix_socket_directories": ".",
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self.durable:
            options |= {"fsync": "off", "full_page_writes": "off"}
            options |= {"synchronous_commit": "off"}
        cluster = self._name_of(self.places.cluster)
        server = [str(_binaries() / "postgres"), "-D", cluster]
        for name, value in options.items():
            server += ["-c", f"{name}={value}"]
        return server

    def _name_of(self, folder: Path) -> str:
        """How a program names ``folder``, in which it was started."""
        return str(folder) if self.owner is None else WORKING_DIRECTORY

    def _run_in(
        self, folder: Path, program: str, *arguments: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own binary, our own arguments
            [str(_binaries() / program), "-D", self._name_of(folder), *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=folder,
            **popen_arguments(self.owner),
        )

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
            self._run_in(
                self.places.cluster,
                "pg_ctl",
                *("stop", "-m", "fast", "-w", "-t", "15", "-s"),
            )


def _is_working_directory(folder: Path) -> bool:
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
