"""Relay nodes on one database act as one relay: each tells the others of its ticks.

One Redis PUBLISH per tick carries the messages as ready JSON. Nothing depends on it
arriving: numbers without gaps tell a node what it missed, and the table has it
(`relay.server.publish_log`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections import deque
from typing import TYPE_CHECKING

import orjson
import redis.asyncio
from redis.exceptions import RedisError

from relay.server.values import KeptMessage, Tick

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub

    from relay.server.counts import Counts
    from relay.server.publish_log import PublishLog

logger = logging.getLogger(__name__)

CHANNEL = "relay:ticks"
TIMEOUT_S = 2.0
# A silent link is asked for a sign of life after this, and given up after twice that.
SILENCE_S = 5.0
RETRY_S = 0.5
# Ticks that wait for a slow Redis; older ones are dropped, for the others to read.
LONGEST_QUEUE = 200


class Nodes:
    def __init__(self, redis_url: str, log: PublishLog, counts: Counts) -> None:
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
        self._untold: deque[Tick] = deque(maxlen=LONGEST_QUEUE)
        self._something = asyncio.Event()
        self.is_up = False
        self.others = 0

    async def close(self) -> None:
        for client in (self._redis, self._listening):
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()

    # Telling

    def announce(self, tick: Tick) -> None:
        self._untold.append(tick)
        self._something.set()

    async def tell(self) -> None:
        """Publish ticks in their order; a single task, so that they stay in it."""
        while True:
            await self._something.wait()
            self._something.clear()
            while self._untold:
                tick = self._untold.popleft()
                try:
                    await self._publish(tick)
                except (RedisError, OSError):
                    self._counts.node_ticks_lost += 1
                    await asyncio.sleep(RETRY_S)

    async def _publish(self, tick: Tick) -> None:
        # A lone node tells only the numbers; who joins meanwhile reads the table.
        text = self._encode(tick, with_messages=self.others > 0)
        heard = await self._redis.publish(CHANNEL, text)
        self.others = max(0, int(heard) - 1)

    def _encode(self, tick: Tick, *, with_messages: bool) -> bytes:
        """A line of JSON, then the messages' own JSON, one after the other."""
        if not with_messages or tick.messages is None:
            return b"%b [%d,%d]\n" % (self._id, tick.first, tick.last)
        bodies = [message.json for message in tick.messages]
        places = [
            (message.id, message.topic, message.publisher, len(body))
            for message, body in zip(tick.messages, bodies, strict=True)
        ]
        head = orjson.dumps([tick.first, tick.last, places])
        return b"%b %b\n%b" % (self._id, head, b"".join(bodies))

    # Listening

    async def listen(self) -> None:
        """Hear the others, and compare with the table whenever the link was new."""
        while True:
            try:
                async with self._listening.pubsub() as link:
                    await link.subscribe(CHANNEL)
                    await self._hear(link)
            except (RedisError, OSError, TimeoutError) as error:
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
        self._counts.node_ticks_received += 1
        self._log.offer(_decode(rest))


def _decode(text: bytes) -> Tick:
    head, _, bodies = text.partition(b"\n")
    first, last, *places = orjson.loads(head)
    if not places:
        return Tick(first, last, None)
    messages = []
    start = 0
    for id_, topic, publisher, length in places[0]:
        body = bodies[start : start + length]
        messages.append(KeptMessage(id_, topic, publisher, body))
        start += length
    return Tick(first, last, messages)
