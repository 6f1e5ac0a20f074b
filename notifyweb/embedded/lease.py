"""Embedded services that run as long as any process uses them.

Every user holds a shared lock on one file; services are started and stopped under an
exclusive lock on another. The last user to release its lock stops the services. The kernel
releases the lock of a killed user, so the next user finds its services running and stops
them.
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


def prepare_folders(paths: Paths) -> None:
    private_folder(paths.data)
    _make_socket_folder(paths.run)
    private_folder(paths.logs)


def _make_socket_folder(folder: Path) -> None:
    """Create ``folder``, perhaps in ``/tmp``, where another user may occupy its name."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        # ``lstat``: a link planted by another user must not be followed.
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
    """One user's share in the services, released by ``leave``."""

    def __init__(self, paths: Paths, services: Sequence[Service]) -> None:
        self._paths = paths
        self._services = services
        self._handle: int | None = None
        self._started: list[subprocess.Popen[bytes]] = []

    def join(self) -> None:
        """Take a share without starting services."""
        prepare_folders(self._paths)
        with locked(self._paths.change_lock):
            self._take_share()

    def enter(self) -> None:
        """Take a share and start the services that do not run."""
        prepare_folders(self._paths)
        with locked(self._paths.change_lock):
            self._take_share()
            try:
                for service in self._services:
                    if not service.is_ready():
                        self._started.append(start_detached(service, self._paths))
            except BaseException:
                self._give_back()
                raise

    def leave(self) -> None:
        with locked(self._paths.change_lock):
            if self._is_last():
                for service in reversed(self._services):
                    service.stop()
                for running in self._started:
                    running.wait()
            for running in self._started:
                # Its last user stops it; Popen must not warn that it still runs.
                running.returncode = running.returncode or 0
            self._give_back()

    def _take_share(self) -> None:
        handle = os.open(self._paths.users_lock, os.O_RDWR | os.O_CREAT, 0o600)
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


def start_detached(service: Service, paths: Paths) -> subprocess.Popen[bytes]:
    """Start a service that outlives this command, and wait until it is ready."""
    service.prepare()
    log = paths.logs / f"{service.name}.log"
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
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            tail = " / ".join(line.strip() for line in lines[-LOG_TAIL_LINES:])
            raise SettingError(f"{service.name} did not start: {tail or 'no output'}")
        # The cluster of a killed server is locked until its last backend has ended.
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
