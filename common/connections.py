"""The process's Redis client for short commands, and giving the database back."""

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
    """It gives up soon: what Redis does for us is a hint or a limit, and a request
    that waits for it waits in vain. One retry covers a connection gone stale."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        max_connections=MAX_CONNECTIONS,
        retry=Retry(NoBackoff(), 1),
    )


def release_database() -> None:
    """Give this thread's database connection back before it waits for something else.

    The next query takes one again. Inside a transaction nothing is given back.
    """
    if not connection.in_atomic_block:
        connection.close()
