"""A running system whose processes can be ended, held and cut at named moments."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.system import System

POLL_S = 0.05
# PostgreSQL keeps up to a gigabyte of its log.
SMALL_DISK = "1500m"
REACH_S = 60.0
# Thousands of calls come from one address and for one subscriber.
LIMITS = (
    "notify_subscriber=1000000+1000000/s,notify_project=1000000+1000000/s,"
    "sign_in_begin=100000+1000/s,signature_check=100000+1000/s,"
    "subscribe_client=100000+1000/s,subscribe_project=100000+1000/s"
)
# As an ordinary stop or the loss of a connection ends them, beside the victim itself.
MAY_RESTART_WITH = {
    "postgres": {"gateway", "relay", "beat", "worker", "outbound", "web"},
    "redis": {"gateway", "relay", "beat", "worker", "outbound"},
    "preloader": {"web", "gateway", "relay", "beat", "worker", "outbound"},
}


class NotReached(AssertionError):
    """No process came to an armed failpoint: the fault did not happen."""


class Deployment(System):
    def __init__(self, **environment: str) -> None:
        # Its data may go to a file system of their own.
        super().__init__(from_nothing=True, NOTIFYWEB_LIMITS=LIMITS, **environment)
        self.has_small_disk = False
        self.folder = self.data_dir / "failpoints"
        self.folder.mkdir()
        self.environment["NOTIFYWEB_FAILPOINT_FOLDER"] = str(self.folder)

    def use_small_disk(self) -> None:
        """Put the data on a file system that can be filled; only root may mount one."""
        data = self.data_dir / "data"
        data.mkdir(mode=0o700)
        options = f"size={SMALL_DISK},mode=0700"
        command = ["mount", "-t", "tmpfs", "-o", options, "notifyweb-faults", str(data)]
        if os.getuid() == 0 and shutil.which("mount"):
            done = subprocess.run(command, capture_output=True, check=False)
            self.has_small_disk = done.returncode == 0

    def remove(self) -> None:
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            pass  # ended by force below
        if self.has_small_disk:
            data = str(self.data_dir / "data")
            subprocess.run(["umount", "--lazy", data], check=False)  # noqa: S607
        super().remove()

    def adopt(self) -> None:
        """Give this process the settings of the deployment, so that it can use its rows."""
        for name in list(os.environ):
            if name.startswith(("NOTIFYWEB_", "DATABASE_URL", "REDIS_URL")):
                del os.environ[name]
        os.environ.update(self.environment)
        # Without the folder: it is the deployment that is to break.
        del os.environ["NOTIFYWEB_FAILPOINT_FOLDER"]
        os.environ["DJANGO_SETTINGS_MODULE"] = "notifyweb.settings"
        import django

        django.setup()
        logging.getLogger("httpx").setLevel(logging.WARNING)

    # Failpoints -----------------------------------------------------------

    def arm(self, place: str, action: str = "kill") -> None:
        draft = self.folder / ".draft"
        draft.write_text(action)
        draft.rename(self.folder / place)

    def wait_until_reached(self, place: str, timeout: float = REACH_S) -> None:
        deadline = time.monotonic() + timeout
        while not self._reached(place).exists():
            if time.monotonic() > deadline:
                raise NotReached(f"{place} was not reached within {timeout:.0f} s")
            time.sleep(POLL_S)

    def release(self, place: str) -> None:
        """Let a held process go on, and disarm what was not reached."""
        (self.folder / place).unlink(missing_ok=True)
        self._reached(place).unlink(missing_ok=True)

    def _reached(self, place: str) -> Path:
        return self.folder / f"{place}.reached"

    def step_clock(self, seconds: float) -> None:
        """Make the clock of all processes wrong by ``seconds``."""
        draft = self.folder / ".clock"
        draft.write_text(str(seconds))
        draft.rename(self.folder / "clock")

    # Kills ----------------------------------------------------------------

    def end(self, name: str) -> None:
        """Kill the process ``name`` and return once it has ended."""
        pid = self.kill(name)
        deadline = time.monotonic() + REACH_S
        while is_running(pid) and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def restart(self, name: str) -> None:
        """Kill the process ``name`` and return when the launcher has started it again."""
        old = self.pid(name)
        self.kill(name)
        deadline = time.monotonic() + REACH_S
        while self.pids().get(name, old) == old:
            if time.monotonic() > deadline:
                raise AssertionError(f"{name} did not come back")
            time.sleep(POLL_S)

    @contextlib.contextmanager
    def stopped(self, name: str):
        """Hang the process ``name`` meanwhile, with its children."""
        pids = [self.pid(name), *children_of(self.pid(name))]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return state.rpartition(b")")[2].split()[0] != b"Z"


def children_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in children.split()]
