"""The Redis client for short commands, and releasing the database connection."""

from __future__ import annotations

import functools

import redis
from django.conf import settings
from django.db import connection
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT_S = 2.0
MAX_CONNECTIONS = 1_000


@functools.cache
def shared_redis() -> redis.Redis:
    """The process's client for short commands.

    It fails after two seconds: Redis carries hints and rate limits here, and a request
    can do without either. One retry covers a connection that Redis closed meanwhile.
    """
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        max_connections=MAX_CONNECTIONS,
        retry=Retry(NoBackoff(), 1),
    )


def release_database() -> None:
    """Close this thread's database connection before it waits for something else.

    The next query opens one again. Inside a transaction this does nothing.
    """
    if not connection.in_atomic_block:
        connection.close()
