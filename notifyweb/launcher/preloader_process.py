"""``python -m notifyweb.launcher.preloader_process``: load the code once, then fork.

Loading Django and our apps costs more than all else at a start, and every process of ours
needs it. This one does it once and holds still: one thread, no connection, nothing opened.
An order of the launcher's makes a copy of it that goes on as the ordered program, just as
``python <arguments>`` would. The copies share their memory.

An order is JSON; with it come open files: the copy's output, a pipe for reports (the copy's
number; later from us, how it ended) and, if the program serves, its listening socket.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from setproctitle import setproctitle

from common import listening
from notifyweb.launcher.death_signal import set_pdeathsig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_ORDER_LENGTH = 64 * 1024
MAX_FILES = 3
# How reports begin: a copy says its number, we say its exit code.
STARTED = b"started "
ENDED = b"ended "


@dataclass(frozen=True, slots=True)
class Order:
    """What Python shall run, and with which variables beside those of the launcher."""

    arguments: tuple[str, ...]
    environment: dict[str, str]

    def to_json(self) -> bytes:
        return json.dumps([self.arguments, self.environment]).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Order:
        arguments, environment = json.loads(text)
        return cls(tuple(arguments), environment)


def main() -> None:
    line = listening.inherited_socket()
    if line is None:
        sys.exit("The launcher starts this; it is of no use to others.")
    del os.environ[listening.VARIABLE]
    began = time.monotonic()
    _load()
    print(f"code is loaded ({time.monotonic() - began:.1f} s)", flush=True)
    become = _serve(line)
    # From here on this is a copy.
    become()


def _load() -> None:
    """What more than one process needs. It must open nothing and start no thread."""
    import django
    from django.db.migrations.loader import MigrationLoader

    django.setup()
    from notifyweb import startup  # noqa: F401
    from notifyweb.celery import app

    app.loader.import_default_modules()
    MigrationLoader(None)
    gc.collect()
    gc.freeze()


def _serve(line: socket.socket) -> Callable[[], None]:
    """Fork on order and report ends, until the launcher is gone. Returns in copies."""
    woken, waker = os.pipe()
    for end in (woken, waker):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reports: dict[int, int] = {}
    while True:
        readable, _, _ = select.select([line.fileno(), woken], [], [])
        if woken in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            _report_ends(reports)
        if line.fileno() not in readable:
            continue
        text, files, _, _ = socket.recv_fds(line, MAX_ORDER_LENGTH, MAX_FILES)
        if not text:
            sys.exit(0)
        ours = os.getpid()
        pid = os.fork()
        if pid == 0:
            for handle in (*reports.values(), woken, waker, line.detach()):
                os.close(handle)
            return lambda: _exec_child(Order.from_json(text), files, parent=ours)
        output, reports[pid], *doors = files
        for handle in (output, *doors):
            os.close(handle)


def _report_ends(reports: dict[int, int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        report = reports.pop(pid)
        with contextlib.suppress(OSError):
            os.write(report, ENDED + b"%d\n" % os.waitstatus_to_exitcode(status))
        os.close(report)


def _exec_child(order: Order, files: Sequence[int], *, parent: int) -> None:
    output, report, *doors = files
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    set_pdeathsig(parent)
    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)
    os.write(report, STARTED + b"%d\n" % os.getpid())
    os.close(report)
    os.environ.update(order.environment)
    for door in doors:
        os.environ[listening.VARIABLE] = str(door)
    _run(order.arguments)


def _run(arguments: Sequence[str]) -> None:
    """What ``python <arguments>`` does, without starting Python."""
    setproctitle(" ".join(["python", *arguments]))
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main()
