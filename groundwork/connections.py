"""The process's Redis client for short commands."""

from __future__ import annotations

import functools

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT_S = 2.0
MOST_CONNECTIONS = 1_000


@functools.cache
def shared_redis() -> redis.Redis:
    """It gives up soon: what Redis does for us is a hint or a limit, and a request
    that waits for it waits in vain. One retry covers a connection gone stale."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        max_connections=MOST_CONNECTIONS,
        retry=Retry(NoBackoff(), 1),
    )
