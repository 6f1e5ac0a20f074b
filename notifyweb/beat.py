"""The clock of the system: Celery beat over the database, one at a time.

Two beats may run by accident. Both keep a lock in Redis in sight; who does not hold it
starts nothing. When the holder dies the lock ends and the other one takes over.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING

import redis
from django_celery_beat.schedulers import DatabaseScheduler

from common import heartbeat
from common.connections import shared_redis
from common.wake import reserve_wake_up

if TYPE_CHECKING:
    from typing import Any

logger = logging.getLogger(__name__)

LOCK_KEY = "beat:holder"
LOCK_MS = 12_000
LOOK_EVERY_S = 3.0


class SingleScheduler(DatabaseScheduler):  # type: ignore[misc] # not typed
    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._identity = f"{socket.gethostname()}:{os.getpid()}".encode()

    def tick(self, *args: object, **kwargs: object) -> float:
        if not self._holds_lock():
            return LOOK_EVERY_S
        heartbeat.beat("beat")
        pause: float = super().tick(*args, **kwargs)
        return min(pause, LOOK_EVERY_S)

    def _holds_lock(self) -> bool:
        try:
            client = shared_redis()
            if client.set(LOCK_KEY, self._identity, nx=True, px=LOCK_MS):
                return True
            if client.get(LOCK_KEY) != self._identity:
                return False
            return bool(client.pexpire(LOCK_KEY, LOCK_MS))
        except redis.RedisError as error:
            logger.warning("beat waits for Redis", extra={"error": error})
            return False

    def apply_async(self, entry: Any, *args: Any, **kwargs: Any) -> Any:
        """Start a periodic task, unless it is waiting to start already."""
        if reserve_wake_up(entry.task, entry.args or ()):
            return super().apply_async(entry, *args, **kwargs)
        if kwargs.get("advance", True):
            self.reserve(entry)
        return None

    def close(self) -> None:
        super().close()
        try:
            if shared_redis().get(LOCK_KEY) == self._identity:
                shared_redis().delete(LOCK_KEY)
        except redis.RedisError:
            pass
