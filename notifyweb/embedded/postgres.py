"""The embedded PostgreSQL, run from the wheel's binaries.

The wheel's Python part is not used: when root starts it, it creates a system user and
opens every parent folder of the cluster. Here only the cluster belongs to another user
(``owner``).
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

    paths: Paths
    durable: bool = True

    name = "postgres"

    @property
    def folder(self) -> Path:
        return self.paths.cluster

    @property
    def owner(self) -> Owner | None:
        return cluster_owner()

    def prepare(self) -> None:
        """Create the cluster and the link to its socket if they are missing."""
        # The copy of the programs may have been removed by a cleaner of /var/tmp.
        _binaries.cache_clear()
        if not (self.paths.cluster / "PG_VERSION").exists():
            self._initialise()
        # The socket is in the cluster, the only folder that its owner can reach.
        link = self.paths.postgres_run
        if not link.is_symlink() or link.readlink() != self.paths.cluster:
            if link.is_symlink():
                link.unlink()
            elif link.exists():
                # Earlier versions had a folder here.
                shutil.rmtree(link)
            link.symlink_to(self.paths.cluster)
        self._forget_killed_server()

    def _forget_killed_server(self) -> None:
        """Remove the lock files of a killed server whose pid is in use.

        The pid may belong to an unreaped zombie or, after a reboot, to another program;
        PostgreSQL would then refuse to start because the server seems to run. The server
        and its backends have the cluster as working directory, so the files stay as long
        as any living process has it.
        """
        lock = self.paths.cluster / "postmaster.pid"
        deadline = time.monotonic() + LAST_BACKENDS_S
        while lock.exists() and Path("/proc/self/cwd").exists():
            if not _is_working_directory(self.paths.cluster):
                socket = self.paths.postgres_run / f".s.PGSQL.{POSTGRES_PORT}"
                socket.unlink(missing_ok=True)
                socket.with_name(f"{socket.name}.lock").unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
            elif self._is_alive(lock) or time.monotonic() > deadline:
                return
            else:
                time.sleep(0.05)

    def _is_alive(self, lock: Path) -> bool:
        try:
            # Bytes, because the file has the path of the cluster in it.
            pid = int(lock.read_bytes().split()[0])
            return Path(f"/proc/{pid}/cwd").readlink() == self.paths.cluster.resolve()
        except (OSError, IndexError, ValueError):
            return False

    def _initialise(self) -> None:
        # Renamed when complete, so that a kill leaves no partial cluster.
        draft = self.paths.cluster.with_name("postgres.new")
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
        draft.rename(self.paths.cluster)

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
        cluster = self._name_of(self.paths.cluster)
        server = [str(_binaries() / "postgres"), "-D", cluster]
        for name, value in options.items():
            server += ["-c", f"{name}={value}"]
        return server

    def _name_of(self, folder: Path) -> str:
        """The path of its working directory ``folder`` that ``owner`` can resolve."""
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
            host=str(self.paths.postgres_run),
            port=POSTGRES_PORT,
            user=SUPERUSER,
            dbname="postgres",
            connect_timeout=CONNECT_TIMEOUT_S,
            autocommit=True,
        )

    def complete(self) -> None:
        """Create the role and the database.

        The role is no superuser: an SQL injection must not start programs (COPY PROGRAM).
        """
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
        # pg_ctl signals the pid in the lock file, which may be another program's by now.
        self._forget_killed_server()
        if (self.paths.cluster / "postmaster.pid").exists():
            self._run_in(
                self.paths.cluster,
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
