"""The whole system, started as a person starts it, for tests from outside.

``make run`` on free ports with a data directory of its own. Tests reach it by its
addresses, look at its processes by name, end them and see them come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

from tests.prepared import copy_prepared

BASE = Path(__file__).resolve().parent.parent
READY_S = 240.0
BACK_S = 60.0
POLL_S = 0.1
OURS = ("NOTIFYWEB_", "DATABASE_URL", "REDIS_URL", "RELAY_URL", "KEYS_SERVER_URL")
OURS += ("HISTORY_SERVER_URL", "SECRET_KEY", "KEYCHAIN_KEYS", "DEBUG", "DJANGO_")
OURS += ("CAST_SERVER_URL", "ALLOWED_HOSTS", "PROJECT_ID", "SENTRY_DSN")
OURS += ("EMAIL_URL", "DEFAULT_FROM_EMAIL")
# With its own database or keys, a system starts from nothing.
NOT_PREPARED = frozenset({"DATABASE_URL", "SECRET_KEY", "KEYCHAIN_KEYS"})


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


@contextlib.contextmanager
def tcp_port_to(path: str) -> Iterator[int]:
    """A port of this machine that leads to a Unix socket, which another user cannot use."""
    loop = asyncio.new_event_loop()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    async def forward(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(path)
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    server = loop.run_until_complete(asyncio.start_server(forward, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
        server.close()
        loop.close()


def clean_environment(**changes: str) -> dict[str, str]:
    """The environment without anything that is a setting of ours, then ``changes``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    return kept | changes


class System:
    """One running system. Start it with ``start()``, end it with ``stop()``.

    Its data directory is a copy of one with migrations applied, unless the test is about
    the first start (``from_nothing``).
    """

    def __init__(self, *, from_nothing: bool = False, **environment: str) -> None:
        # Short, because PostgreSQL's socket lives below it.
        self.data_dir = Path(tempfile.mkdtemp(prefix="nw-"))
        self.port = free_port()
        self.relay_port = free_port()
        self.base_url = f"http://localhost:{self.port}"
        self.relay_url = f"ws://localhost:{self.relay_port}"
        self.log = self.data_dir / "system.log"
        self.environment = clean_environment(
            NOTIFYWEB_DATA_DIR=str(self.data_dir / "data"),
            NOTIFYWEB_PORT=str(self.port),
            NOTIFYWEB_RELAY_PORT=str(self.relay_port),
            **environment,
        )
        self._launcher: subprocess.Popen[bytes] | None = None
        if not from_nothing and NOT_PREPARED.isdisjoint(environment):
            copy_prepared(self.data_dir / "data", self.environment)

    def launch(self, **popen: Any) -> None:
        """Start and do not wait. ``popen`` changes how (user, folder, umask)."""
        arguments = {"cwd": BASE, "env": self.environment} | popen
        with self.log.open("ab") as log:
            self._launcher = subprocess.Popen(
                [sys.executable, "manage.py", "run"],
                stdout=log,
                stderr=log,
                **arguments,
            )

    def start(self) -> System:
        self.launch()
        self.wait_until_ready()
        return self

    def stop(self) -> int:
        """SIGTERM to the launcher; its exit code."""
        if self._launcher is None:
            return 0
        self._launcher.send_signal(signal.SIGTERM)
        return self.wait_for_end()

    def wait_for_end(self, timeout: float = 25.0) -> int:
        assert self._launcher is not None
        return self._launcher.wait(timeout)

    def remove(self) -> None:
        """End what still runs, by force if need be, and drop the data directory."""
        if self._launcher is not None and self._launcher.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self._launcher.kill()
                self._launcher.wait()
        shutil.rmtree(self.data_dir, ignore_errors=True)

    # Its output -----------------------------------------------------------

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def readiness(self) -> tuple[int, dict[str, object]]:
        """The status of ``/readyz`` and its components; 0 if there is no response."""
        try:
            status, body = self.get("/readyz")
            return status, json.loads(body)["components"]
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return 0, {}

    def wait_until_ready(self, timeout: float = READY_S) -> None:
        ended = self._launcher.poll if self._launcher else lambda: None
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            status, components = self.readiness()
            if status == 200:
                return
            if ended() is not None:
                break
            time.sleep(POLL_S)
        raise AssertionError(f"not ready: {components}\n{self.output()[-4000:]}")

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    # Its processes --------------------------------------------------------

    def pids(self) -> dict[str, int]:
        """``launcher postgres redis web relay gateway worker beat`` by name."""
        path = self.data_dir / "data" / "processes.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def pid(self, name: str) -> int:
        return self.pids()[name]

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to the process ``name``; the number it had."""
        pid = self.pid(name)
        os.kill(pid, number)
        return pid

    def wait_until_back(self, name: str, old_pid: int, timeout: float = BACK_S) -> int:
        """Until ``name`` runs under another number and the system is ready."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            pid = self.pids().get(name, old_pid)
            if pid != old_pid and self.readiness()[0] == 200:
                return pid
            time.sleep(POLL_S)
        raise AssertionError(f"{name} did not come back\n{self.output()[-4000:]}")

    # Its commands ---------------------------------------------------------

    def manage(
        self, *arguments: str, check: bool = True, timeout: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """A management command against this system."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=BASE,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{arguments} failed:\n{done.stdout}{done.stderr}")
        return done


def living_under(folder: Path) -> list[str]:
    """Command lines of processes that name ``folder`` in their arguments or environment,
    or work in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            words = _read(entry / "cmdline") + _read(entry / "environ")
            with contextlib.suppress(OSError):
                words += os.fsencode((entry / "cwd").readlink())
            if str(folder).encode() in words:
                found.append(_read(entry / "cmdline").replace(b"\0", b" ").decode())
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
