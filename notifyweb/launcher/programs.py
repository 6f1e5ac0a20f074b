"""The programs of the system and their command lines."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from notifyweb.command_line import SUPERVISED
from notifyweb.task_queues import OUTBOUND_QUEUES, WORKER_QUEUES

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from notifyweb.embedded.owner import Owner

# Celery workers; their heartbeats have the same names.
WORKERS = ("worker", "outbound")
WORKER_PROCESSES = 2
# More threads than kinds of outbound tasks, so that no slow host blocks another kind.
OUTBOUND_THREADS = 24
WORKER_OPTIONS = ("--without-gossip", "--without-mingle")


@dataclass(frozen=True, slots=True)
class Program:
    """One process. ``stop_after_s`` is how long its graceful shutdown may take."""

    name: str
    arguments: tuple[str, ...]
    stop_after_s: float = 10.0
    stop_signal: int = signal.SIGTERM
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    owner: Owner | None = None
    # Stays open during restarts, so that no client is refused meanwhile.
    listening_socket: socket.socket | None = None


@dataclass(frozen=True, slots=True)
class Sockets:
    """The listening sockets of the system; no relay socket with an external relay."""

    web: socket.socket
    relay: socket.socket | None

    def close(self) -> None:
        self.web.close()
        if self.relay is not None:
            self.relay.close()


def _manage(base: Path, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, str(base / "manage.py"), *arguments)


def _celery(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "celery", "-q", "-A", "notifyweb", *arguments)


def _worker(pool: str, concurrency: int, queues: Iterable[str]) -> tuple[str, ...]:
    return _celery(
        "worker",
        f"--pool={pool}",
        f"--concurrency={concurrency}",
        f"--queues={','.join(queues)}",
        f"--hostname={pool}@%h",
        *WORKER_OPTIONS,
    )


def preloader(base: Path) -> Program:
    """The process that loads the code once and forks the others."""
    arguments = (sys.executable, "-m", "notifyweb.launcher.preloader_process")
    return replace(_child("preloader", arguments), folder=base)


def prepare(base: Path, *, seed: bool) -> Program:
    arguments = ("prepare", "--seed") if seed else ("prepare",)
    return _child("prepare", _manage(base, *arguments))


def programs(base: Path, *, sockets: Sockets) -> list[Program]:
    """All programs; without the relay if there is no socket for it."""
    found = [
        _child("web", _manage(base, "daphne"), listening_socket=sockets.web),
        _child("gateway", _manage(base, "gateway")),
        _child(
            "worker",
            _worker("prefork", WORKER_PROCESSES, WORKER_QUEUES),
        ),
        _child("outbound", _worker("threads", OUTBOUND_THREADS, OUTBOUND_QUEUES)),
        _child("beat", _celery("beat")),
    ]
    if sockets.relay is not None:
        relay = _child("relay", _manage(base, "relay"), listening_socket=sockets.relay)
        found.insert(1, relay)
    return found


def _child(
    name: str,
    arguments: tuple[str, ...],
    *,
    listening_socket: socket.socket | None = None,
) -> Program:
    environment = {
        SUPERVISED: "1",
        "PYTHONUNBUFFERED": "1",
        "NOTIFYWEB_PROCESS": name,
        # setproctitle must not overwrite the environment, which tests and ``ps e`` read.
        "SPT_NOENV": "1",
    }
    return Program(
        name, arguments, environment=environment, listening_socket=listening_socket
    )
