"""From nothing to one URL, and back to nothing."""

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
    from collections.abc import Coroutine, Iterator, Sequence

    from notifyweb.embedded.lease import Service

POLL_S = 0.2
SLOW_START_S = 45.0
BACKLOG = 512


def run() -> int:
    """Everything, until a signal comes. The exit code of ``manage.py run``."""
    private_folder(settings.DATA_DIR)
    with _only_launcher():
        doors = open_sockets()
        services = embedded_services()
        if services:
            prepare_folders(settings.EMBEDDED_PATHS)
        return asyncio.run(System(Console(), services, doors).run())


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
    """Refuse ports that are taken; hold ours open from now on.

    Whoever connects while the process behind a door is started again waits a moment
    in its queue and is not refused.
    """
    wanted = {"NOTIFYWEB_PORT": settings.PORT}
    if settings.EMBEDDED_RELAY:
        wanted["NOTIFYWEB_RELAY_PORT"] = settings.RELAY_PORT
    if len(set(wanted.values())) < len(wanted):
        raise SettingError(
            f"NOTIFYWEB_PORT and NOTIFYWEB_RELAY_PORT are both {settings.PORT}; "
            "give them different numbers."
        )
    doors = {name: _open_socket(name, port) for name, port in wanted.items()}
    return programs.Sockets(
        web=doors["NOTIFYWEB_PORT"], relay=doors.get("NOTIFYWEB_RELAY_PORT")
    )


def _open_socket(name: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.BIND else socket.AF_INET
    door = None
    try:
        # A kernel without IPv6 refuses the family here.
        door = socket.socket(family, socket.SOCK_STREAM)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((settings.BIND, port))
        door.listen(BACKLOG)
    except OSError as error:
        if door is not None:
            door.close()
        raise SettingError(
            f"Port {port} on {settings.BIND} cannot be used ({error.strerror}); "
            f"end the program that holds it or set {name} to another port."
        ) from None
    return door


class System:
    """The processes of one machine and their order."""

    def __init__(
        self,
        console: Console,
        services: Sequence[Service],
        doors: programs.Sockets,
    ) -> None:
        self._doors = doors
        self._console = console
        self._lease = Lease(settings.EMBEDDED_PATHS, services)
        self._has_services = bool(services)
        self._services = [
            ServiceSupervisor(service, settings.EMBEDDED_PATHS, console)
            for service in services
        ]
        self._nursery: Preloader | None = None
        self._keepers: list[Supervisor] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> int:
        self._listen_to_signals()
        if self._has_services:
            self._lease.join()
        code = 0
        try:
            code = await self._until_stopped(self._start())
            if code == 0:
                await self._stop.wait()
        finally:
            await self._shut_down()
        return code

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _until_stopped(self, start: Coroutine[None, None, int]) -> int:
        starting = asyncio.ensure_future(start)
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if starting.done():
            return starting.result()
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return 0

    async def _start(self) -> int:
        # It needs no services: the code is being loaded while they come up.
        if can_fork():
            self._nursery = Preloader(
                programs.nursery(settings.BASE_DIR), self._console
            )
            self._keep(self._nursery)
        if self._services:
            with self._console.phase("services are up"):
                for service in self._services:
                    await asyncio.to_thread(service.prepare)
                    self._keep(service)
                for service in self._services:
                    await service.ready.wait()
        code = await self._prepare()
        if code:
            self._console.say("the database was not prepared; see the lines above")
            return code
        with self._console.phase("processes are up"):
            found = programs.programs(settings.BASE_DIR, doors=self._doors)
            for program in found:
                keeper = Supervisor(program, self._console, nursery=self._nursery)
                self._keepers.append(keeper)
                self._keep(keeper)
            code = await self._wait_until_ready()
        if code:
            self._console.say("a process refused to start; see the lines above")
            return code
        self._console.say(
            f"ready after {self._console.since_start():.1f} s: {settings.PUBLIC_URL}"
        )
        keepers = {keeper.program.name: keeper for keeper in self._keepers}
        watching = [
            *(watch_worker(keepers[name], self._console) for name in programs.WORKERS),
            watch_web(
                keepers["web"], self._console, host=settings.BIND, port=settings.PORT
            ),
        ]
        self._tasks += [asyncio.create_task(each) for each in watching]
        return 0

    def _keep(self, keeper: Supervisor) -> None:
        keeper.on_change = self._write_pids
        self._tasks.append(keeper.start())

    async def _prepare(self) -> int:
        """Migrate, collect static files, seed; in one process that loads Django once.

        A start after nothing changed needs none of it: the note of the last time
        says for which files it was done.
        """
        note = settings.DATA_DIR / "prepared"
        state = await asyncio.to_thread(probe.state_of_files, settings)
        if self._services and note.exists() and note.read_text() == state:
            return 0
        program = programs.prepare(settings.BASE_DIR, seed=settings.DEMO)
        with self._console.phase("prepared"):
            keeper = Supervisor(program, self._console, nursery=self._nursery)
            self._keepers = [keeper]
            code = await keeper.run_once()
            self._keepers = []
        if code == 0:
            note.write_text(await asyncio.to_thread(probe.state_of_files, settings))
        return code

    async def _wait_until_ready(self) -> int:
        """0, or the code of a process that a new start cannot help."""
        patience = asyncio.get_running_loop().time() + SLOW_START_S
        while True:
            answer = await probe.readiness(settings.BIND, settings.PORT)
            if answer.ready:
                return 0
            if any(keeper.last_code == WRONG_SETTING for keeper in self._keepers):
                return WRONG_SETTING
            if asyncio.get_running_loop().time() > patience:
                self._console.say(f"still waiting for {answer.missing}")
                patience += SLOW_START_S
            await asyncio.sleep(POLL_S)

    async def _shut_down(self) -> None:
        self._stop.set()
        self._console.say("stopping")
        self._doors.close()
        await asyncio.gather(*(k.stop(hurry=self._hurry) for k in self._keepers))
        # Behind its copies, which would die with it.
        if self._nursery is not None:
            await self._nursery.stop(hurry=self._hurry)
        await asyncio.gather(*(s.stop(hurry=self._hurry) for s in self._services))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._has_services:
            await asyncio.to_thread(self._lease.leave)
        (settings.DATA_DIR / "processes.json").unlink(missing_ok=True)
        self._console.say("stopped")

    def _write_pids(self) -> None:
        """Who runs under which number, for whoever looks after the machine."""
        pids = {"launcher": os.getpid()}
        nursery = [] if self._nursery is None else [self._nursery]
        for keeper in [*self._services, *nursery, *self._keepers]:
            if keeper.pid is not None:
                pids[keeper.program.name] = keeper.pid
        draft = settings.DATA_DIR / "processes.draft"
        draft.write_text(json.dumps(pids))
        draft.replace(settings.DATA_DIR / "processes.json")
