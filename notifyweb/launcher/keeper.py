"""Keeping one program alive: start it, pass on its lines, start it again.

Each child leads a session of its own, so that Ctrl-C reaches the launcher only and
whatever a killed child leaves behind is found by its group. The kernel ends a child
whose launcher died (``PR_SET_PDEATHSIG``).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from notifyweb.launcher.programs import Program

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifyweb.embedded.lease import Service
    from notifyweb.embedded.places import Places
    from notifyweb.launcher.console import Console

PR_SET_PDEATHSIG = 1
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
STEADY_S = 20.0
READ_BYTES = 64 * 1024
FOUND_POLL_S = 0.5
LAST_LINES_S = 1.0

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with(launcher: int) -> Callable[[], None]:
    def in_child() -> None:
        if _libc is not None:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != launcher:
                os._exit(1)

    return in_child


async def _lines_of(handle: int, line: Callable[[str], None]) -> None:
    """Hand over whole lines as they come; a line without end is cut."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(handle, "rb")
    )
    pending = b""
    try:
        while chunk := await reader.read(READ_BYTES):
            *lines, pending = (pending + chunk).split(b"\n")
            if len(pending) > READ_BYTES:
                lines, pending = [*lines, pending], b""
            for found in lines:
                line(found.decode("utf-8", "replace").rstrip("\r"))
        if pending:
            line(pending.decode("utf-8", "replace"))
    finally:
        transport.close()


class Keeper:
    """Runs one program until it is told to stop."""

    def __init__(self, program: Program, console: Console) -> None:
        self.program = program
        self.restarts = 0
        self.on_change: Callable[[], None] = lambda: None
        self._console = console
        self._running: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._started_at = time.monotonic()

    @property
    def pid(self) -> int | None:
        running = self._running
        return running.pid if running and running.returncode is None else None

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._started_at

    async def run_once(self) -> int:
        """Start the program, wait for its end, clear up its group."""
        self._started_at = time.monotonic()
        # A pipe of our own: the one asyncio makes keeps the end of a child unknown
        # for as long as a grandchild holds the other side.
        read_end, write_end = os.pipe()
        try:
            running = await self._spawn(write_end)
        finally:
            os.close(write_end)
        self._running = running
        self.on_change()
        reading = asyncio.create_task(_lines_of(read_end, self._line))
        code = await running.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(running.pid, signal.SIGKILL)
        await asyncio.wait([reading], timeout=LAST_LINES_S)
        reading.cancel()
        self.on_change()
        return code

    async def _spawn(self, output: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.program.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=self.program.folder,
            env={**os.environ, **self.program.environment},
            start_new_session=True,
            preexec_fn=_die_with(os.getpid()),
        )

    async def keep(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._is_stopping():
            code = await self.run_once()
            if self._is_stopping():
                return
            if self.age_s > STEADY_S:
                pause = FIRST_PAUSE_S
            how = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
            self._line(f"{how}; starting again in {pause:.1f} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
            self.restarts += 1

    def _is_stopping(self) -> bool:
        return self._stopping

    def _line(self, text: str) -> None:
        self._console.line(self.program.name, text)

    def signal(self, number: int) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def stop(self, *, hurry: asyncio.Event) -> None:
        """Ask for a clean end; insist after a while, or at once when ``hurry``."""
        self._stopping = True
        running = self._running
        if running is None or running.returncode is not None:
            return
        self.signal(self.program.stop_signal)
        insist = asyncio.create_task(hurry.wait())
        ended = asyncio.create_task(running.wait())
        await asyncio.wait(
            [insist, ended],
            timeout=self.program.stop_after_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        insist.cancel()
        if running.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
        await ended


class ServiceKeeper(Keeper):
    """Keeps PostgreSQL or Redis: one that another command started is watched until
    it goes away, and then is our own."""

    def __init__(self, service: Service, places: Places, console: Console) -> None:
        super().__init__(_service_program(service), console)
        self.ready = asyncio.Event()
        self._service = service
        self._log = places.logs / f"{service.name}.log"

    async def run_once(self) -> int:
        service = self._service
        while await asyncio.to_thread(service.is_ready):
            await asyncio.to_thread(service.complete)
            self.ready.set()
            await asyncio.sleep(FOUND_POLL_S)
        await asyncio.to_thread(service.prepare)
        self.program = _service_program(service)
        announce = asyncio.create_task(self._announce())
        try:
            return await super().run_once()
        finally:
            self.ready.clear()
            announce.cancel()

    async def _announce(self) -> None:
        while not await asyncio.to_thread(self._service.is_ready):  # noqa: ASYNC110
            await asyncio.sleep(0.03)
        await asyncio.to_thread(self._service.complete)
        self.ready.set()

    def _line(self, text: str) -> None:
        # A server's own chatter goes to its log; what the launcher says is shown.
        if "starting again" in text:
            super()._line(text)
        with self._log.open("a", encoding="utf-8") as log:
            log.write(text + "\n")


def _service_program(service: Service) -> Program:
    return Program(
        name=service.name,
        arguments=tuple(service.command(dies_with_parent=True)),
        # SIGTERM would make PostgreSQL wait for its clients.
        stop_signal=signal.SIGINT,
        folder=Path("/"),
    )
