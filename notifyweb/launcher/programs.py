"""Which programs make up the system, and how each of them is called."""

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
# Programs that take up tasks; their signs of life have the same names.
WORKERS = ("worker", "outbound")
WORKER_PROCESSES = 2
# Each kind of work waits for the network in a thread of its own.
OUTBOUND_THREADS = 16
WORKER_OPTIONS = ("--without-gossip", "--without-mingle")


@dataclass(frozen=True, slots=True)
class Program:
    """One process. ``stop_after_s`` is how long it may take over a clean end."""

    name: str
    arguments: tuple[str, ...]
    stop_after_s: float = 10.0
    stop_signal: int = signal.SIGTERM
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    owner: Owner | None = None
    # A socket that stays open over restarts, so that nobody is refused meanwhile.
    door: socket.socket | None = None


@dataclass(frozen=True, slots=True)
class Sockets:
    """The listening sockets of the system. Another relay needs none of ours."""

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


def nursery(base: Path) -> Program:
    """The process that loads the code once; the others are copies of it."""
    arguments = (sys.executable, "-m", "notifyweb.launcher.preloader_process")
    return replace(_child("nursery", arguments), folder=base)


def prepare(base: Path, *, seed: bool) -> Program:
    arguments = ("prepare", "--seed") if seed else ("prepare",)
    return _child("prepare", _manage(base, *arguments))


def programs(base: Path, *, doors: Sockets) -> list[Program]:
    """All of them; without the embedded relay if there is no door for it."""
    found = [
        _child("web", _manage(base, "daphne"), door=doors.web),
        _child("gateway", _manage(base, "gateway")),
        _child(
            "worker",
            _worker("prefork", WORKER_PROCESSES, WORKER_QUEUES),
        ),
        _child("outbound", _worker("threads", OUTBOUND_THREADS, OUTBOUND_QUEUES)),
        _child("beat", _celery("beat")),
    ]
    if doors.relay is not None:
        found.insert(1, _child("relay", _manage(base, "relay"), door=doors.relay))
    return found


def _child(
    name: str, arguments: tuple[str, ...], *, door: socket.socket | None = None
) -> Program:
    environment = {
        SUPERVISED: "1",
        "PYTHONUNBUFFERED": "1",
        "NOTIFYWEB_PROCESS": name,
        # Titles of processes must not write over the variables that stand behind.
        "SPT_NOENV": "1",
    }
    return Program(name, arguments, environment=environment, door=door)
