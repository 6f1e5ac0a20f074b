"""Wake-ups by Redis, for loops that would otherwise wait until their next scan."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import redis.asyncio
from redis.exceptions import RedisError

from common.wake import channel_name

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger(__name__)

RETRY_S: Final = 1.0
READ_S: Final = 20.0


class WakeEvent:
    """Wakes one loop. Loops wait with a time limit, so a lost wake-up only delays them."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            pass

    def clear(self) -> None:
        """To be called before the database is read, so that a wake-up meanwhile is kept."""
        self._event.clear()


class WakeListener:
    """Receives the wake-ups of all loops on one Redis connection."""

    def __init__(self, redis_url: str, channels: Iterable[str]) -> None:
        self._redis_url = redis_url
        self._events: dict[bytes, list[WakeEvent]] = {
            channel_name(channel).encode(): [] for channel in channels
        }

    def event(self, channel: str) -> WakeEvent:
        """A new event that ``common.wake.wake(channel)`` sets."""
        event = WakeEvent()
        self._events[channel_name(channel).encode()].append(event)
        return event

    async def run(self) -> None:
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                logger.warning("no wake-ups from Redis: %s", type(error).__name__)
                await asyncio.sleep(RETRY_S)

    async def _listen(self) -> None:
        client = redis.asyncio.Redis.from_url(
            self._redis_url, socket_connect_timeout=RETRY_S, socket_timeout=2 * READ_S
        )
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe(*self._events)
            # Scan once: wake-ups before the subscription are lost.
            self._wake(self._events)
            while True:
                message = await pubsub.get_message(
                    ignore_subscribe_messages=True, timeout=READ_S
                )
                if message is not None:
                    self._wake([message["channel"]])

    def _wake(self, channels: Iterable[bytes]) -> None:
        for channel in channels:
            for event in self._events.get(channel, ()):
                event.set()
