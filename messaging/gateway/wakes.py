"""Wake-ups: a loop waits for a hint on Redis, but never longer than the next scan."""

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
    """One loop's alarm: set by a hint, or by nobody and the scan comes anyway."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, at_most: float) -> None:
        try:
            async with asyncio.timeout(at_most):
                await self._event.wait()
        except TimeoutError:
            pass

    def clear(self) -> None:
        """Before the database is read, so that a hint during the reading counts."""
        self._event.clear()


class WakeListener:
    """Hears the hints for all loops on one Redis connection."""

    def __init__(self, redis_url: str, channels: Iterable[str]) -> None:
        self._redis_url = redis_url
        self._wakers: dict[bytes, list[WakeEvent]] = {
            channel_name(channel).encode(): [] for channel in channels
        }

    def waker(self, channel: str) -> WakeEvent:
        """A new alarm for ``common.wake.wake(channel)``."""
        waker = WakeEvent()
        self._wakers[channel_name(channel).encode()].append(waker)
        return waker

    async def run(self) -> None:
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                logger.warning("wake-ups not heard: %s", type(error).__name__)
                await asyncio.sleep(RETRY_S)

    async def _listen(self) -> None:
        client = redis.asyncio.Redis.from_url(
            self._redis_url, socket_connect_timeout=RETRY_S, socket_timeout=2 * READ_S
        )
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe(*self._wakers)
            # What was announced while nobody listened is found by a scan, now.
            self._wake(self._wakers)
            while True:
                message = await pubsub.get_message(
                    ignore_subscribe_messages=True, timeout=READ_S
                )
                if message is not None:
                    self._wake([message["channel"]])

    def _wake(self, channels: Iterable[bytes]) -> None:
        for channel in channels:
            for waker in self._wakers.get(channel, ()):
                waker.set()
