"""``python -m notifyweb.launcher.preloader_process``: load the code once, then fork.

Loading Django and our apps takes most of the time of a start, and each of our processes
needs it. This process loads them once and stays single-threaded, without connections or
open files. For each request of the launcher it forks a child that continues as
``python <arguments>`` would. The children share the memory of the loaded code.

A request is JSON with file descriptors: the child's output, a pipe for reports (the child
writes its pid; later this process writes its exit code) and, for servers, the listening
socket. docs/performance.md has the figures.
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

MAX_REQUEST_LENGTH = 64 * 1024
MAX_FILES = 3
# Prefixes of reports: the child's pid, and its exit code.
STARTED = b"started "
ENDED = b"ended "


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """Arguments of Python, and variables in addition to the launcher's environment."""

    arguments: tuple[str, ...]
    environment: dict[str, str]

    def to_json(self) -> bytes:
        return json.dumps([self.arguments, self.environment]).encode()

    @classmethod
    def from_json(cls, text: bytes) -> ForkRequest:
        arguments, environment = json.loads(text)
        return cls(tuple(arguments), environment)


def main() -> None:
    requests = listening.inherited_socket()
    if requests is None:
        sys.exit("This module is started by `manage.py run` only.")
    del os.environ[listening.VARIABLE]
    began = time.monotonic()
    # What more than one process needs. Nothing here may open a file or start a thread.
    import django
    from django.db.migrations.loader import MigrationLoader

    django.setup()
    from notifyweb import startup  # noqa: F401
    from notifyweb.celery import app

    app.loader.import_default_modules()
    MigrationLoader(None)
    gc.collect()
    # Collections in the children would touch, and thereby copy, the shared pages.
    gc.freeze()
    print(f"code is loaded ({time.monotonic() - began:.1f} s)", flush=True)
    run_child = _serve(requests)
    # Only forked children get here.
    run_child()


def _serve(requests: socket.socket) -> Callable[[], None]:
    """Fork on request and report exits until the launcher is gone.

    Returns in children only, so that they run without this function's frame on the stack.
    """
    woken, waker = os.pipe()
    for end in (woken, waker):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reports: dict[int, int] = {}
    while True:
        readable, _, _ = select.select([requests.fileno(), woken], [], [])
        if woken in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            _report_exits(reports)
        if requests.fileno() not in readable:
            continue
        text, files, _, _ = socket.recv_fds(requests, MAX_REQUEST_LENGTH, MAX_FILES)
        if not text:
            sys.exit(0)
        ours = os.getpid()
        pid = os.fork()
        if pid == 0:
            for handle in (*reports.values(), woken, waker, requests.detach()):
                os.close(handle)
            return lambda: _exec_child(ForkRequest.from_json(text), files, parent=ours)
        output, reports[pid], *listening_fds = files
        for handle in (output, *listening_fds):
            os.close(handle)


def _report_exits(reports: dict[int, int]) -> None:
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


def _exec_child(request: ForkRequest, files: Sequence[int], *, parent: int) -> None:
    output, report, *listening_fds = files
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
    os.environ.update(request.environment)
    for handle in listening_fds:
        os.environ[listening.VARIABLE] = str(handle)
    # From here on like ``python <arguments>``, without starting Python.
    arguments = request.arguments
    setproctitle(" ".join(["python", *arguments]))
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main()
