"""The launcher's side of the preloader (``preloader_process``)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from notifyweb.launcher.preloader_process import ENDED, STARTED, ForkRequest
from notifyweb.launcher.supervisor import Supervisor

if TYPE_CHECKING:
    from notifyweb.launcher.console import Console
    from notifyweb.launcher.programs import Program
    from notifyweb.launcher.supervisor import Running


def can_fork() -> bool:
    """On macOS, system libraries abort in a forked child that did not call exec."""
    return sys.platform == "linux"


class ForkedProcess:
    """One forked program, with the interface of ``asyncio.subprocess.Process``."""

    def __init__(self, pid: int, report: asyncio.StreamReader) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._report = report

    async def wait(self) -> int:
        if self.returncode is None:
            code = _number(await self._report.readline(), ENDED)
            # The pipe closed without a report: the preloader died, and the kernel ends
            # its children (``PR_SET_PDEATHSIG``).
            self.returncode = -signal.SIGTERM if code is None else code
        return self.returncode


class Preloader(Supervisor):
    """Supervises the process that loads the code once and forks."""

    def __init__(self, program: Program, console: Console) -> None:
        super().__init__(program, console)
        self._requests: socket.socket | None = None

    async def _spawn(self, output: int) -> Running:
        self._close_requests()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.program = replace(self.program, listening_socket=theirs)
            running = await super()._spawn(output)
        self._requests = ours
        return running

    async def run_once(self) -> int:
        try:
            return await super().run_once()
        finally:
            self._close_requests()

    def _close_requests(self) -> None:
        if self._requests is not None:
            self._requests.close()
            self._requests = None

    async def start_child(self, program: Program, output: int) -> ForkedProcess | None:
        """Fork ``program``; None if the preloader does not run.

        While the code is still being loaded the request waits in the socket.
        """
        if self._requests is None:
            return None
        report, theirs = os.pipe()
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(report, "rb")
        )
        handles = [output, theirs]
        if program.listening_socket is not None:
            handles.append(program.listening_socket.fileno())
        request = ForkRequest(program.arguments[1:], dict(program.environment))
        try:
            socket.send_fds(self._requests, [request.to_json()], handles)
        except OSError:
            return None
        finally:
            os.close(theirs)
        pid = _number(await reader.readline(), STARTED)
        return None if pid is None else ForkedProcess(pid, reader)


def _number(line: bytes, prefix: bytes) -> int | None:
    return int(line.removeprefix(prefix)) if line.startswith(prefix) else None
