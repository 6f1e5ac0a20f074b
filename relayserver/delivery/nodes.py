"""Relay nodes on one database act as one relay: each publishes its ticks to the others.

A Redis PUBLISH carries the messages as JSON, of one tick or of all that were committed
during the last PUBLISH. It may be lost: numbers have no gaps, so a node detects what it
missed and reads it from the table (`relayserver.delivery.publish_log`).
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
    from collections.abc import Container, Iterator

    from redis.asyncio.client import PubSub

    from relayserver.delivery.publish_log import PublishLog
    from relayserver.delivery.topics import TopicTable
    from relayserver.metrics import Counts

logger = logging.getLogger(__name__)

TIMEOUT_S = 2.0
# A subscription without traffic is pinged after this, and closed after twice that.
SILENCE_S = 5.0
RETRY_S = 0.5
# A lone node sends at most one notice per interval, in case another node has started;
# that one reads the table.
ALONE_INTERVAL_S = 0.1
# With more than this queued, the others get a notice to read the table instead.
MAX_QUEUE_LENGTH = 200
MAX_TEXT_LENGTH = 4 * 1024 * 1024


class Nodes:
    """``channel`` is common to the nodes of one database."""

    def __init__(
        self,
        redis_url: str,
        channel: str,
        *,
        log: PublishLog,
        topics: TopicTable,
        counts: Counts,
    ) -> None:
        self._channel = channel
        self._id = uuid.uuid4().hex.encode()
        self._log = log
        self._topics = topics
        self._counts = counts
        self._redis = redis.asyncio.Redis.from_url(
            redis_url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            max_connections=4,
        )
        # Without a socket time-out, because reads wait for messages. With RESP3 redis-py
        # formats each message for a debug log that is off.
        self._subscriber_redis = redis.asyncio.Redis.from_url(
            redis_url,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=TIMEOUT_S,
            max_connections=2,
        )
        self._unpublished: list[Tick] = []
        self._something = asyncio.Event()
        self.is_up = False
        self.others = 0

    async def close(self) -> None:
        for client in (self._redis, self._subscriber_redis):
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()

    # Publishing

    def announce(self, tick: Tick) -> None:
        if self.others and len(self._unpublished) < MAX_QUEUE_LENGTH:
            self._unpublished.append(tick)
        self._something.set()

    async def publish(self) -> None:
        """Publish ticks; a single task, so that they stay in order."""
        while True:
            await self._something.wait()
            if not self.others:
                await asyncio.sleep(ALONE_INTERVAL_S)
            self._something.clear()
            ticks, self._unpublished = self._unpublished, []
            try:
                receivers = await self._redis.publish(
                    self._channel, self._encode(ticks)
                )
                self.others = max(0, int(receivers) - 1)
            except Exception as error:
                # Without Redis this node still serves its own clients.
                self._counts.node_ticks_lost += len(ticks)
                logger.info("ticks not published to other nodes: %r", error)
                await asyncio.sleep(RETRY_S)

    def _encode(self, ticks: list[Tick]) -> bytes:
        """The node's id, the ticks as a line of JSON, then the JSON of their messages.

        The id alone means: read the table.
        """
        if len(ticks) >= MAX_QUEUE_LENGTH:
            return self._id
        bodies = [message.json for tick in ticks for message in tick.messages]
        if not ticks or sum(map(len, bodies)) > MAX_TEXT_LENGTH:
            return self._id
        heads = [
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
        return b"".join([self._id, b" ", orjson.dumps(heads), b"\n", *bodies])

    # Receiving

    async def listen(self) -> None:
        """Receive ticks of others; compare with the table after each new subscription."""
        while True:
            try:
                async with self._subscriber_redis.pubsub() as link:
                    await link.subscribe(self._channel)
                    await self._receive(link)
            except Exception as error:
                # As above; missed ticks are read from the table.
                if self.is_up:
                    logger.warning("no ticks from other nodes: %r", error)
            self.is_up = False
            await asyncio.sleep(RETRY_S)

    async def _receive(self, link: PubSub) -> None:
        silent = False
        while True:
            message = await link.get_message(timeout=SILENCE_S)
            if message is None:
                if silent:
                    raise TimeoutError("no answer to a ping")
                silent = True
                await link.ping()
                continue
            silent = False
            if message["type"] == "subscribe":
                self.is_up = True
                self._log.compare_soon()
            elif message["type"] == "message":
                self._take(message["data"])

    def _take(self, text: bytes) -> None:
        node, _, rest = text.partition(b" ")
        if node == self._id:
            return
        if not rest:
            self._log.compare_soon()
        for tick in _decode(rest, self._topics.topics()):
            self._counts.node_ticks_received += 1
            self._log.offer(tick)


def _decode(text: bytes, topics: Container[str]) -> Iterator[Tick]:
    """The ticks of another node, with the messages of these topics.

    A topic that is subscribed later needs none of them: its mailbox is read, and they are in
    the database already.
    """
    head, _, bodies = text.partition(b"\n")
    start = 0
    for first, last, members in orjson.loads(head) if head else ():
        messages = []
        for id_, topic, publisher, length in members:
            if topic in topics:
                body = bodies[start : start + length]
                messages.append(KeptMessage(id_, topic, publisher, body))
            start += length
        yield Tick(first, last, messages)
