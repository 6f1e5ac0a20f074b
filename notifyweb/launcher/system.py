"""``manage.py run``: starts, supervises and stops every process of the system."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
from typing import TYPE_CHECKING

from django.conf import settings

from notifyweb.command_line import WRONG_SETTING, embedded_services
from notifyweb.embedded.lease import Lease, prepare_folders
from notifyweb.environment import SettingError, private_folder
from notifyweb.launcher import probe, programs
from notifyweb.launcher.console import Console
from notifyweb.launcher.preloader import Preloader, can_fork
from notifyweb.launcher.supervisor import ServiceSupervisor, Supervisor
from notifyweb.launcher.watchdog import watch_web, watch_worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from notifyweb.embedded.lease import Service

POLL_S = 0.2
SLOW_START_S = 45.0
BACKLOG = 512


def run() -> int:
    """Run the system until a signal; return the exit code of ``manage.py run``."""
    private_folder(settings.DATA_DIR)
    with _only_launcher():
        sockets = open_sockets()
        services = embedded_services()
        if services:
            prepare_folders(settings.EMBEDDED_PATHS)
        return asyncio.run(System(Console(), services, sockets).run())


@contextlib.contextmanager
def _only_launcher() -> Iterator[None]:
    handle = os.open(settings.DATA_DIR / "launcher", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise SettingError(
            f"The system is already running on {settings.DATA_DIR}; "
            "stop it, or set NOTIFYWEB_DATA_DIR to another directory."
        ) from None
    try:
        yield
    finally:
        os.close(handle)


def open_sockets() -> programs.Sockets:
    """Open the listening sockets, which stay open until the launcher ends.

    Clients that connect while a server restarts wait in the backlog and are not refused.
    """
    wanted = {"NOTIFYWEB_PORT": settings.PORT}
    if settings.EMBEDDED_RELAY:
        wanted["NOTIFYWEB_RELAY_PORT"] = settings.RELAY_PORT
    if len(set(wanted.values())) < len(wanted):
        raise SettingError(
            f"NOTIFYWEB_PORT and NOTIFYWEB_RELAY_PORT are both {settings.PORT}; "
            "give them different numbers."
        )
    opened = {name: _open_socket(name, port) for name, port in wanted.items()}
    return programs.Sockets(
        web=opened["NOTIFYWEB_PORT"], relay=opened.get("NOTIFYWEB_RELAY_PORT")
    )


def _open_socket(name: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.BIND else socket.AF_INET
    opened = None
    try:
        # A kernel without IPv6 refuses the family here.
        opened = socket.socket(family, socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((settings.BIND, port))
        opened.listen(BACKLOG)
    except OSError as error:
        if opened is not None:
            opened.close()
        raise SettingError(
            f"Port {port} on {settings.BIND} cannot be used ({error.strerror}); "
            f"end the program that holds it or set {name} to another port."
        ) from None
    return opened


class System:
    """Starts the processes in order and stops them in reverse order."""

    def __init__(
        self,
        console: Console,
        services: Sequence[Service],
        sockets: programs.Sockets,
    ) -> None:
        self._sockets = sockets
        self._console = console
        self._lease = Lease(settings.EMBEDDED_PATHS, services)
        self._has_services = bool(services)
        self._services = [
            ServiceSupervisor(service, settings.EMBEDDED_PATHS, console)
            for service in services
        ]
        self._preloader: Preloader | None = None
        self._supervisors: list[Supervisor] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    async def run(self) -> int:
        def on_signal() -> None:
            if self._stop.is_set():
                self._force.set()
            self._stop.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, on_signal)
        if self._has_services:
            self._lease.join()
        code = 0
        try:
            starting = asyncio.create_task(self._start())
            stopped = asyncio.create_task(self._stop.wait())
            await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                code = starting.result()
            else:
                starting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await starting
            if code == 0:
                await stopped
            stopped.cancel()
        finally:
            await self._shut_down()
        return code

    async def _start(self) -> int:
        # It needs no services and loads the code while they start.
        if can_fork():
            self._preloader = Preloader(
                programs.preloader(settings.BASE_DIR), self._console
            )
            self._supervise(self._preloader)
        if self._services:
            with self._console.phase("services are up"):
                for service in self._services:
                    await asyncio.to_thread(service.prepare)
                    self._supervise(service)
                for service in self._services:
                    await service.ready.wait()
        code = await self._prepare()
        if code:
            self._console.announce("the database was not prepared; see the lines above")
            return code
        with self._console.phase("processes are up"):
            found = programs.programs(settings.BASE_DIR, sockets=self._sockets)
            for program in found:
                supervisor = Supervisor(
                    program, self._console, preloader=self._preloader
                )
                self._supervisors.append(supervisor)
                self._supervise(supervisor)
            code = await self._wait_until_ready()
        if code:
            self._console.announce("a process refused to start; see the lines above")
            return code
        self._console.announce(
            f"ready after {self._console.since_start():.1f} s: {settings.PUBLIC_URL}"
        )
        by_name = {each.program.name: each for each in self._supervisors}
        watching = [
            *(watch_worker(by_name[name], self._console) for name in programs.WORKERS),
            watch_web(
                by_name["web"], self._console, host=settings.BIND, port=settings.PORT
            ),
        ]
        self._tasks += [asyncio.create_task(each) for each in watching]
        return 0

    def _supervise(self, supervisor: Supervisor) -> None:
        supervisor.on_change = self._write_pids
        self._tasks.append(supervisor.start())

    async def _prepare(self) -> int:
        """Migrate, collect static files and seed, unless it was done for these files.

        The file ``prepared`` holds the digest of the files of the last run. Skipping saves
        several seconds of a start.
        """
        marker = settings.DATA_DIR / "prepared"
        state = await asyncio.to_thread(probe.state_of_files, settings)
        if self._services and marker.exists() and marker.read_text() == state:
            return 0
        program = programs.prepare(settings.BASE_DIR, seed=settings.DEMO)
        with self._console.phase("prepared"):
            supervisor = Supervisor(program, self._console, preloader=self._preloader)
            self._supervisors = [supervisor]
            code = await supervisor.run_once()
            self._supervisors = []
        if code == 0:
            marker.write_text(await asyncio.to_thread(probe.state_of_files, settings))
        return code

    async def _wait_until_ready(self) -> int:
        """Return 0 when ready, or the exit code of a process with a wrong setting."""
        report_at = asyncio.get_running_loop().time() + SLOW_START_S
        while True:
            answer = await probe.readiness(settings.BIND, settings.PORT)
            if answer.ready:
                return 0
            if any(each.last_code == WRONG_SETTING for each in self._supervisors):
                return WRONG_SETTING
            if asyncio.get_running_loop().time() > report_at:
                self._console.announce(f"still waiting for {answer.missing}")
                report_at += SLOW_START_S
            await asyncio.sleep(POLL_S)

    async def _shut_down(self) -> None:
        self._stop.set()
        self._console.announce("stopping")
        self._sockets.close()
        await asyncio.gather(*(s.stop(force=self._force) for s in self._supervisors))
        # After its children, which end with it.
        if self._preloader is not None:
            await self._preloader.stop(force=self._force)
        await asyncio.gather(*(s.stop(force=self._force) for s in self._services))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._has_services:
            await asyncio.to_thread(self._lease.leave)
        (settings.DATA_DIR / "processes.json").unlink(missing_ok=True)
        self._console.announce("stopped")

    def _write_pids(self) -> None:
        """Write the pids by name to ``processes.json``, for operators and tests."""
        pids = {"launcher": os.getpid()}
        preloader = [] if self._preloader is None else [self._preloader]
        for each in [*self._services, *preloader, *self._supervisors]:
            if each.pid is not None:
                pids[each.program.name] = each.pid
        draft = settings.DATA_DIR / "processes.draft"
        draft.write_text(json.dumps(pids))
        draft.replace(settings.DATA_DIR / "processes.json")
