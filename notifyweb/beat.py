"""Celery beat with its schedule in the database; only one instance starts tasks.

Two instances may run by accident. Only the one that holds a lock in Redis starts tasks.
When it is killed the lock expires and another instance takes over.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import redis
from django_celery_beat.schedulers import DatabaseScheduler
from redis.exceptions import LockError

from common import heartbeat
from common.connections import shared_redis
from common.wake import reserve_wake_up

if TYPE_CHECKING:
    from typing import Any

logger = logging.getLogger(__name__)

LOCK_KEY = "beat:holder"
# Four ticks: a beat that misses one (a slow Redis) keeps the lock.
LOCK_S = 12.0
TICK_S = 3.0


class SingleScheduler(DatabaseScheduler):  # type: ignore[misc] # not typed
    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._lock = shared_redis().lock(LOCK_KEY, timeout=LOCK_S)

    def tick(self, *args: object, **kwargs: object) -> float:
        if not self._holds_lock():
            return TICK_S
        heartbeat.beat("beat")
        pause: float = super().tick(*args, **kwargs)
        return min(pause, TICK_S)

    def _holds_lock(self) -> bool:
        try:
            if self._lock.owned():
                return bool(self._lock.reacquire())
            return bool(self._lock.acquire(blocking=False))
        except LockError:
            # It expired between the two commands.
            return False
        except redis.RedisError as error:
            logger.warning("beat waits for Redis", extra={"error": error})
            return False

    def apply_async(self, entry: Any, *args: Any, **kwargs: Any) -> Any:
        """Enqueue a periodic task, unless the same task is already queued."""
        if reserve_wake_up(entry.task, entry.args or ()):
            return super().apply_async(entry, *args, **kwargs)
        if kwargs.get("advance", True):
            self.reserve(entry)
        return None

    def close(self) -> None:
        super().close()
        try:
            if self._lock.owned():
                self._lock.release()
        except redis.RedisError:
            pass
