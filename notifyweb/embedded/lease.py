"""Finding or starting the embedded services for as long as somebody uses them.

Every user holds a shared lock on one file; starting and stopping happens under
another, exclusive one. Who leaves and finds no other user stops the services. A user
that was killed lost its lock with its life, so the next one finds the services
running and leaves as the last.
"""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from notifyweb.embedded.owner import popen_arguments
from notifyweb.environment import SettingError, private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from notifyweb.embedded.owner import Owner
    from notifyweb.embedded.paths import Paths

START_TIMEOUT_S = 60.0
POLL_S = 0.02
LOG_TAIL_LINES = 3


class Service(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> Path: ...
    @property
    def owner(self) -> Owner | None: ...
    def prepare(self) -> None: ...
    def command(self) -> list[str]: ...
    def is_ready(self) -> bool: ...
    def complete(self) -> None: ...
    def stop(self) -> None: ...


def prepare_folders(places: Paths) -> None:
    private_folder(places.data)
    _make_socket_folder(places.run)
    private_folder(places.logs)


def _make_socket_folder(folder: Path) -> None:
    """It may be in ``/tmp``, where other users can make something of its name first."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        # A link is not followed: nothing outside may be changed or used.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise SettingError(f"{folder} belongs to another user; remove it.")
        folder.chmod(0o700)
    except OSError as error:
        raise SettingError(
            f"The folder of sockets {folder} cannot be made ({error.strerror}); "
            "remove what is there or set NOTIFYWEB_DATA_DIR to a shorter path."
        ) from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class Lease:
    """One user's share in the services. ``leave`` gives it back, once."""

    def __init__(self, places: Paths, services: Sequence[Service]) -> None:
        self._places = places
        self._services = services
        self._handle: int | None = None
        self._started: list[subprocess.Popen[bytes]] = []

    def join(self) -> None:
        """Take a share; start nothing."""
        prepare_folders(self._places)
        with locked(self._places.change_lock):
            self._take_share()

    def enter(self) -> None:
        """Take a share and have every service running."""
        prepare_folders(self._places)
        with locked(self._places.change_lock):
            self._take_share()
            try:
                for service in self._services:
                    if not service.is_ready():
                        self._started.append(start_detached(service, self._places))
            except BaseException:
                self._give_back()
                raise

    def leave(self) -> None:
        with locked(self._places.change_lock):
            if self._is_last():
                for service in reversed(self._services):
                    service.stop()
                for running in self._started:
                    running.wait()
            for running in self._started:
                # Not ours to wait for: it ends when its last user leaves.
                running.returncode = running.returncode or 0
            self._give_back()

    def _take_share(self) -> None:
        handle = os.open(self._places.users_lock, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(handle, fcntl.LOCK_SH)
        self._handle = handle

    def _give_back(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _is_last(self) -> bool:
        if self._handle is None:
            return False
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def start_detached(service: Service, places: Paths) -> subprocess.Popen[bytes]:
    """Start a service that outlives this command, and wait until it answers."""
    service.prepare()
    log = places.logs / f"{service.name}.log"
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with log.open("ab") as output:
            running = subprocess.Popen(  # noqa: S603 - our own binary and arguments
                service.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=service.folder,
                start_new_session=True,
                **popen_arguments(service.owner),
            )
        if _becomes_ready(service, running, deadline):
            service.complete()
            return running
        if time.monotonic() > deadline:
            raise SettingError(f"{service.name} did not start: {_log_tail(log)}")
        # The cluster of a killed server is busy until its last backend noticed.
        time.sleep(0.5)


def _becomes_ready(
    service: Service, running: subprocess.Popen[bytes], deadline: float
) -> bool:
    while time.monotonic() < deadline:
        if service.is_ready():
            return True
        if running.poll() is not None:
            return False
        time.sleep(POLL_S)
    running.kill()
    running.wait()
    return False


def _log_tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " / ".join(line.strip() for line in lines[-LOG_TAIL_LINES:]) or "no output"
