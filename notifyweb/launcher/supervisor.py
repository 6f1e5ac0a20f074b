"""Keeps one program running: starts it, forwards its output, restarts it.

Each child leads a session of its own: Ctrl-C reaches only the launcher, and the remaining
processes of a killed child are found by their group. The kernel ends a child whose launcher
died (``PR_SET_PDEATHSIG``).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import time
from typing import TYPE_CHECKING, Protocol

from common import listening
from notifyweb.embedded.owner import popen_arguments
from notifyweb.environment import SettingError
from notifyweb.launcher.death_signal import set_pdeathsig
from notifyweb.launcher.programs import Program
from notifyweb.launcher.restarts import Ending, Restarts

if TYPE_CHECKING:
    from collections.abc import Callable

    from notifyweb.embedded.lease import Service
    from notifyweb.embedded.paths import Paths
    from notifyweb.launcher.console import Console
    from notifyweb.launcher.preloader import Preloader

START_POLL_S = 0.03
READ_BYTES = 64 * 1024
FOUND_POLL_S = 0.5
LAST_LINES_S = 1.0
SERVICE_STOP_S = 6.0


class Running(Protocol):
    """The part of ``asyncio.subprocess.Process`` that forked programs have, too."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...


async def _lines_of(handle: int, line: Callable[[str], None]) -> None:
    """Pass each line to ``line``; an overlong line is split."""
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


class Supervisor:
    """Runs one program until ``stop``, restarting it whenever it exits."""

    def __init__(
        self, program: Program, console: Console, *, preloader: Preloader | None = None
    ) -> None:
        self.program = program
        self.on_change: Callable[[], None] = lambda: None
        self.last_code: int | None = None
        self._console = console
        self._preloader = preloader
        self._running: Running | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._started_at = time.monotonic()
        self._up_s = 0.0

    @property
    def pid(self) -> int | None:
        running = self._running
        return running.pid if running and running.returncode is None else None

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._started_at

    def start(self) -> asyncio.Task[None]:
        """Start the program. The task ends after ``stop``."""
        self._task = asyncio.create_task(self._restart_until_stopped())
        return self._task

    async def run_once(self) -> int:
        """Start the program, wait until it exits, kill the rest of its group."""
        self._started_at = time.monotonic()
        # A pipe of our own: with asyncio's, ``wait`` does not return while a grandchild
        # holds the other end.
        read_end, write_end = os.pipe()
        try:
            running = self._running = await self._spawn(write_end)
        finally:
            os.close(write_end)
        self.on_change()
        reading = asyncio.create_task(_lines_of(read_end, self._line))
        if self._stopping.is_set():
            self._kill_group()
        code = self.last_code = await running.wait()
        self._kill_group()
        await asyncio.wait([reading], timeout=LAST_LINES_S)
        reading.cancel()
        self.on_change()
        return code

    async def _spawn(self, output: int) -> Running:
        if self._preloader is not None:
            forked = await self._preloader.start_child(self.program, output)
            if forked is not None:
                return forked
        environment = {**os.environ, **self.program.environment}
        inherited: tuple[int, ...] = ()
        if self.program.listening_socket is not None:
            inherited = (self.program.listening_socket.fileno(),)
            environment[listening.VARIABLE] = str(inherited[0])
        return await asyncio.create_subprocess_exec(
            *self.program.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=self.program.folder,
            env=environment,
            start_new_session=True,
            pass_fds=inherited,
            preexec_fn=functools.partial(
                set_pdeathsig, os.getpid(), number=self.program.stop_signal
            ),
            **popen_arguments(self.program.owner),
        )

    async def _restart_until_stopped(self) -> None:
        restarts = Restarts()
        while not self._stopping.is_set():
            try:
                ending = Ending(await self.run_once(), self._up_s)
            except (OSError, SettingError) as error:
                ending = Ending(reason=str(error))
            if self._stopping.is_set():
                return
            pause = restarts.pause_after(ending)
            message = f"{self._describe(ending)}; starting again in {pause:.1f} s"
            self._console.line(self.program.name, message)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    def _describe(self, ending: Ending) -> str:
        return str(ending)

    def _line(self, text: str) -> None:
        self._console.line(self.program.name, text)

    def signal(self, number: int) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _kill_group(self) -> None:
        """Kill the program and every process it started."""
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._running.pid, signal.SIGKILL)

    async def stop(self, *, force: asyncio.Event) -> None:
        """Stop gracefully; kill after ``stop_after_s``, or at once when ``force`` is set."""
        self._stopping.set()
        if self._task is None:
            self._kill_group()
            return
        self.signal(self.program.stop_signal)
        forced = asyncio.create_task(force.wait())
        await asyncio.wait(
            [forced, self._task],
            timeout=self.program.stop_after_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        forced.cancel()
        if not self._task.done():
            self._kill_group()
        await asyncio.wait([self._task])


class ServiceSupervisor(Supervisor):
    """Runs PostgreSQL or Redis.

    A server that another command started is polled until it is gone; then this one
    starts its own.
    """

    def __init__(self, service: Service, paths: Paths, console: Console) -> None:
        super().__init__(_service_program(service), console)
        self.ready = asyncio.Event()
        self._service = service
        self._last_line = ""
        self._log = paths.logs / f"{service.name}.log"

    def prepare(self) -> None:
        """Prepare the first start; may raise ``SettingError``."""
        if not self._service.is_ready():
            self._service.prepare()

    async def run_once(self) -> int:
        service = self._service
        while await asyncio.to_thread(service.is_ready):
            await self._complete()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), FOUND_POLL_S)
            if self._stopping.is_set():
                return 0
        self.ready.clear()
        await asyncio.to_thread(service.prepare)
        self.program = _service_program(service)
        announce = asyncio.create_task(self._announce())
        try:
            return await super().run_once()
        finally:
            self.ready.clear()
            announce.cancel()

    async def _announce(self) -> None:
        while not self.ready.is_set():
            if await asyncio.to_thread(self._service.is_ready):
                await self._complete()
            await asyncio.sleep(START_POLL_S)

    async def _complete(self) -> None:
        try:
            await asyncio.to_thread(self._service.complete)
        except Exception as error:  # of psycopg or redis; polled again
            self._line(f"not complete yet: {type(error).__name__}: {error}")
        else:
            self.ready.set()

    def _line(self, text: str) -> None:
        # Output of the servers goes to their log files, not to the console.
        self._last_line = text
        with self._log.open("a", encoding="utf-8") as log:
            log.write(text + "\n")

    def _describe(self, ending: Ending) -> str:
        return f"{ending} ({self._last_line})" if self._last_line else str(ending)


def _service_program(service: Service) -> Program:
    return Program(
        name=service.name,
        arguments=tuple(service.command()),
        # SIGTERM would make PostgreSQL wait for its clients.
        stop_signal=signal.SIGINT,
        stop_after_s=SERVICE_STOP_S,
        folder=service.folder,
        owner=service.owner,
    )
