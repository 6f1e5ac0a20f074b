"""Relay nodes on one database act as one relay: each tells the others of its ticks.

A Redis PUBLISH carries the messages as ready JSON, of one tick or of all that were
committed while the last one was on its way. Nothing depends on it arriving: numbers
without gaps tell a node what it missed, and the table has it (`relayserver.delivery.publish_log`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from typing import TYPE_CHECKING

import orjson
import redis.asyncio
from redis.exceptions import RedisError

from relayserver.values import KeptMessage, Tick

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.asyncio.client import PubSub

    from relayserver.delivery.publish_log import PublishLog
    from relayserver.metrics import Counts

logger = logging.getLogger(__name__)

TIMEOUT_S = 2.0
# A silent link is asked for a sign of life after this, and given up after twice that.
SILENCE_S = 5.0
RETRY_S = 0.5
# A lone node only says now and then that there is something: who joins reads the table.
ALONE_S = 0.1
# With more than this to tell, the others are told to read the table instead.
MAX_QUEUE_LENGTH = 200
MAX_TEXT_LENGTH = 4 * 1024 * 1024


class Nodes:
    """``channel`` is that of all nodes on one database, and of no others."""

    def __init__(
        self, redis_url: str, channel: str, *, log: PublishLog, counts: Counts
    ) -> None:
        self._channel = channel
        self._id = uuid.uuid4().hex.encode()
        self._log = log
        self._counts = counts
        self._redis = redis.asyncio.Redis.from_url(
            redis_url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            max_connections=4,
        )
        # Reading blocks for as long as there is nothing: no time-out of the socket's.
        self._listening = redis.asyncio.Redis.from_url(
            redis_url,
            socket_timeout=None,
            socket_connect_timeout=TIMEOUT_S,
            max_connections=2,
        )
        self._untold: list[Tick] = []
        self._something = asyncio.Event()
        self.is_up = False
        self.others = 0

    async def close(self) -> None:
        for client in (self._redis, self._listening):
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()

    # Telling

    def announce(self, tick: Tick) -> None:
        if self.others and len(self._untold) < MAX_QUEUE_LENGTH:
            self._untold.append(tick)
        self._something.set()

    async def tell(self) -> None:
        """Publish ticks in their order; a single task, so that they stay in it."""
        while True:
            await self._something.wait()
            if not self.others:
                await asyncio.sleep(ALONE_S)
            self._something.clear()
            ticks, self._untold = self._untold, []
            try:
                heard = await self._redis.publish(self._channel, self._encode(ticks))
                self.others = max(0, int(heard) - 1)
            except Exception as error:
                # Whatever goes wrong with Redis, this node serves its own clients.
                self._counts.node_ticks_lost += len(ticks)
                logger.info("the other nodes were not told: %r", error)
                await asyncio.sleep(RETRY_S)

    def _encode(self, ticks: list[Tick]) -> bytes:
        """Who speaks; the ticks as a line of JSON; their messages' own JSON behind it.

        Nothing behind the name means: look into the table.
        """
        if len(ticks) >= MAX_QUEUE_LENGTH:
            return self._id
        bodies = [message.json for tick in ticks for message in tick.messages]
        if not ticks or sum(map(len, bodies)) > MAX_TEXT_LENGTH:
            return self._id
        told = [
            (
                tick.first,
                tick.last,
                [
                    (each.id, each.topic, each.publisher, len(each.json))
                    for each in tick[2]
                ],
            )
            for tick in ticks
        ]
        return b"%b %b\n%b" % (self._id, orjson.dumps(told), b"".join(bodies))

    # Listening

    async def listen(self) -> None:
        """Hear the others, and compare with the table whenever the link was new."""
        while True:
            try:
                async with self._listening.pubsub() as link:
                    await link.subscribe(self._channel)
                    await self._hear(link)
            except Exception as error:
                # As above; and what was missed is read from the table.
                if self.is_up:
                    logger.warning("the other nodes are out of hearing: %r", error)
            self.is_up = False
            await asyncio.sleep(RETRY_S)

    async def _hear(self, link: PubSub) -> None:
        silent = False
        while True:
            heard = await link.get_message(timeout=SILENCE_S)
            if heard is None:
                if silent:
                    raise TimeoutError("no sign of life")
                silent = True
                await link.ping()
                continue
            silent = False
            if heard["type"] == "subscribe":
                self.is_up = True
                self._log.look()
            elif heard["type"] == "message":
                self._take(heard["data"])

    def _take(self, text: bytes) -> None:
        node, _, rest = text.partition(b" ")
        if node == self._id:
            return
        if not rest:
            self._log.look()
        for tick in _decode(rest):
            self._counts.node_ticks_received += 1
            self._log.offer(tick)


def _decode(text: bytes) -> Iterator[Tick]:
    head, _, bodies = text.partition(b"\n")
    start = 0
    for first, last, places in orjson.loads(head) if head else ():
        messages = []
        for id_, topic, publisher, length in places:
            body = bodies[start : start + length]
            messages.append(KeptMessage(id_, topic, publisher, body))
            start += length
        yield Tick(first, last, messages)
