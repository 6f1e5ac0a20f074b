"""Heartbeats of our processes, stored in Redis and read by the health page.

Key ``heartbeat:<name>``, value milliseconds since 1970, expires after ten minutes. A lost
heartbeat makes a process look silent for a moment and has no other effect.
"""

from __future__ import annotations

import logging
from typing import Final

import redis

from common import clock
from common.connections import shared_redis

logger = logging.getLogger(__name__)

KEY_PREFIX: Final = "heartbeat:"
LIFETIME_S: Final = 600


def beat(name: str) -> None:
    try:
        shared_redis().set(KEY_PREFIX + name, clock.now_ms(), ex=LIFETIME_S)
    except redis.RedisError as error:
        logger.warning("heartbeat not sent", extra={"sign": name, "error": error})


def ages(names: list[str]) -> dict[str, float | None]:
    """Seconds since the last heartbeat of each; None if there was none lately."""
    found = shared_redis().mget([KEY_PREFIX + name for name in names])
    now = clock.now_ms()
    return {
        name: None if value is None else max(0.0, (now - int(value)) / 1000)
        for name, value in zip(names, found, strict=True)
    }
