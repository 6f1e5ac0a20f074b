"""Services and processes for measurements, in a temporary data directory."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = Path(__file__).resolve().parent.parent
START_S = 60
STOP_S = 10


@dataclass(frozen=True, slots=True)
class Services:
    """A migrated PostgreSQL, durable as in production, and Redis."""

    environment: dict[str, str]
    redis_socket: Path
    postgres: psutil.Process

    def postgres_cpu(self) -> float:
        return cpu_of_tree(self.postgres)


# A data directory that ``prepare`` made, which each part of a run copies: migrating takes
# longer than most parts measure.
PREPARED = "BENCH_PREPARED"


def prepare(folder: Path) -> None:
    """Make a migrated data directory, and stop its services."""
    os.environ["NOTIFYWEB_DATA_DIR"] = str(folder)
    with _served():
        pass


@contextmanager
def services(**environment: str) -> Iterator[Services]:
    """``environment`` is for the processes to be measured, as NOTIFYWEB_… settings."""
    with tempfile.TemporaryDirectory(prefix="notifyweb-bench-") as folder:
        if prepared := os.environ.get(PREPARED):
            # With owners: PostgreSQL may run as another user.
            copy = ["cp", "-a", f"{prepared}/.", folder]
            subprocess.run(copy, check=True)  # noqa: S603 - our own folders
        os.environ["NOTIFYWEB_DATA_DIR"] = folder
        os.environ.update(environment)
        with _served() as found:
            yield found


@contextmanager
def _served() -> Iterator[Services]:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notifyweb.settings")
    from django.conf import settings

    from notifyweb.embedded.lease import Lease
    from notifyweb.embedded.postgres import Postgres
    from notifyweb.embedded.redis import Redis

    # Reading the settings creates the secrets in the data directory.
    paths = settings.EMBEDDED_PATHS
    started = [Postgres(paths), Redis(paths)]
    lease = Lease(paths, started)
    try:
        lease.enter()
    except BaseException:
        # Stopped while they start.
        for service in started:
            service.stop()
        raise
    try:
        os.environ["NOTIFYWEB_SUPERVISED"] = "1"
        if PREPARED not in os.environ:
            manage("migrate", "--verbosity", "0")
        postmaster = int((paths.cluster / "postmaster.pid").read_text().split()[0])
        yield Services(dict(os.environ), paths.redis_socket, psutil.Process(postmaster))
    finally:
        lease.leave()


def manage(*arguments: str) -> None:
    command = [sys.executable, str(BASE / "manage.py"), *arguments]
    subprocess.run(command, check=True, cwd=BASE)  # noqa: S603 - our own program


@dataclass
class Measured:
    """A running process and its CPU time."""

    process: subprocess.Popen[bytes]

    def __post_init__(self) -> None:
        self._ps = psutil.Process(self.process.pid)

    def cpu(self) -> float:
        return cpu_of(self._ps)


@contextmanager
def running(*command: str, port: int) -> Iterator[Measured]:
    """Run a Python program that serves on ``port``."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, *command], cwd=BASE, stdout=subprocess.DEVNULL
    )
    try:
        wait_for_port(port)
        yield Measured(process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int) -> None:
    give_up_at = time.monotonic() + START_S
    while True:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port)),
        ):
            return
        if time.monotonic() > give_up_at:
            raise SystemExit(f"nothing listens on port {port}")
        time.sleep(0.05)


def cpu_of(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def cpu_of_tree(process: psutil.Process) -> float:
    """CPU seconds including running and ended children."""
    ended = process.cpu_times()
    total = cpu_of(process) + ended.children_user + ended.children_system
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += cpu_of(child)
    return total
