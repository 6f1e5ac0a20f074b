"""The launcher's end of the line to the process that forks (``forking``)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from notifyweb.launcher.preloader_process import ENDED, STARTED, Order
from notifyweb.launcher.supervisor import Supervisor

if TYPE_CHECKING:
    from notifyweb.launcher.console import Console
    from notifyweb.launcher.programs import Program
    from notifyweb.launcher.supervisor import Running


def can_fork() -> bool:
    """Elsewhere a copy of a process that loaded system libraries may not go on."""
    return sys.platform == "linux"


class Copy:
    """One forked program, as ``asyncio.subprocess.Process`` shows its own."""

    def __init__(self, pid: int, report: asyncio.StreamReader) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._report = report

    async def wait(self) -> int:
        if self.returncode is None:
            code = _number(await self._report.readline(), ENDED)
            # Without a last word the forking process is gone, and takes all with it.
            self.returncode = -signal.SIGTERM if code is None else code
        return self.returncode


class Preloader(Supervisor):
    """Keeps the process that loads the code once and forks."""

    def __init__(self, program: Program, console: Console) -> None:
        super().__init__(program, console)
        self._wire: socket.socket | None = None

    async def _spawn(self, output: int) -> Running:
        self._hang_up()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.program = replace(self.program, door=theirs)
            running = await super()._spawn(output)
        self._wire = ours
        return running

    async def run_once(self) -> int:
        try:
            return await super().run_once()
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    async def start_child(self, program: Program, output: int) -> Copy | None:
        """``program`` as a copy; ``None`` if the forking process cannot do it.

        While the code is still being loaded the order waits in the line.
        """
        if self._wire is None:
            return None
        report, theirs = os.pipe()
        reader = await _reader_of(report)
        doors = [] if program.door is None else [program.door.fileno()]
        order = Order(program.arguments[1:], dict(program.environment))
        try:
            socket.send_fds(self._wire, [order.to_json()], [output, theirs, *doors])
        except OSError:
            return None
        finally:
            os.close(theirs)
        pid = _number(await reader.readline(), STARTED)
        return None if pid is None else Copy(pid, reader)


def _number(line: bytes, beginning: bytes) -> int | None:
    return int(line.removeprefix(beginning)) if line.startswith(beginning) else None


async def _reader_of(handle: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(handle, "rb")
    )
    return reader
