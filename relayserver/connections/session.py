"""One client's connection, independent of what carries the frames (`Transport`)."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, NamedTuple

from common import clock
from relayserver.connections.requests import execute_call
from relayserver.connections.responses import Answers, RelayError
from relayserver.connections.transport import TRY_AGAIN_LATER
from relayserver.delivery.topics import TopicLink
from walletconnect.errors import RemoteProtocolError
from walletconnect.relay.frames import PREFIXES
from walletconnect.relay.rpc import (
    JsonRpcError,
    JsonRpcRequest,
    acknowledged_id,
    parse,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from relayserver.connections.transport import Transport
    from relayserver.delivery.hub import Hub
    from relayserver.values import KeptMessage
    from walletconnect.crypto.keys import Topic
    from walletconnect.relay.rpc import RpcId

logger = logging.getLogger(__name__)

# As every known client acknowledges a delivery: half of the frames that arrive. The JSON
# parser with all checks takes ten times as long.
ACKNOWLEDGEMENT = re.compile(
    rb'\{"id":([1-9][0-9]{0,18}),"jsonrpc":"2\.0","result":true\}'
)
# Unacknowledged deliveries per connection; each takes about 0.2 KB.
MAX_UNACKNOWLEDGED = 50_000


class Sent(NamedTuple):
    link: TopicLink
    message_id: int


class Session:
    """Created by `Hub.connect`, ended by `Hub.disconnect`."""

    def __init__(
        self, hub: Hub, client: str, transport: Transport, *, address: str = ""
    ) -> None:
        self.hub = hub
        self.client = client
        self.address = address
        self.transport = transport
        self.answers = Answers(transport)
        self.is_open = True
        self.links: dict[str, TopicLink] = {}
        # Links whose mailbox has not been delivered yet.
        self.unserved: list[TopicLink] = []
        # Deliveries use the prefix of the client's requests.
        self.method_prefix = PREFIXES[0]
        self.fetching = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sent: dict[int, Sent] = {}
        # Below 2**53, and higher than on any earlier connection of this client.
        self._next_delivery = clock.payload_id()

    def receive(self, frame: bytes) -> bool:
        """Handle one frame; returns whether it was a request, which the rate limit counts."""
        self.hub.counts.frames_received += 1
        if match := ACKNOWLEDGEMENT.fullmatch(frame):
            self._acknowledge(int(match[1]))
            return False
        try:
            payload = parse(frame)
        except RemoteProtocolError as error:
            self.hub.counts.requests_failed += 1
            self.answers.expect(error.request_id).error(RelayError.of(error))
            return True
        if isinstance(payload, JsonRpcRequest):
            execute_call(self, payload)
            return True
        if not isinstance(payload, JsonRpcError):
            self._acknowledge(payload.id)
        return False

    def holds(self, link: TopicLink) -> bool:
        return self.links.get(link.topic) is link

    def subscribe(self, topics: list[Topic]) -> list[TopicLink]:
        """Returns the new links only: subscribed topics need no second mailbox read."""
        fresh = []
        for topic in topics:
            link = self.links.get(topic) or self._add_link(topic)
            if not link.is_confirmed:
                link.is_confirmed = True
                fresh.append(link)
        return fresh

    def reserve(self, topic: Topic) -> TopicLink:
        """A subscription that `confirm` makes final and `release` may end.

        Several calls may wait for one link: it stays if any of them is confirmed.
        """
        link = self.links.get(topic) or self._add_link(topic)
        link.reservations += 1
        return link

    def confirm(self, link: TopicLink) -> bool:
        """Returns whether the subscription is new; one that was ended stays ended."""
        link.reservations -= 1
        if link.is_confirmed or not self.holds(link):
            return False
        link.is_confirmed = True
        return True

    def release(self, link: TopicLink) -> None:
        link.reservations -= 1
        is_needed = link.is_confirmed or link.reservations
        if self.holds(link) and not is_needed:
            self.unsubscribe(link.topic)

    def _add_link(self, topic: Topic) -> TopicLink:
        link = TopicLink(self, topic, self.method_prefix, joined_at=self.hub.log.seen)
        self.links[topic] = link
        self.hub.add_link(self, link)
        return link

    def unsubscribe(self, topic: str) -> None:
        # Outstanding deliveries can still be acknowledged: `_sent` refers to the link.
        link = self.links.pop(topic, None)
        if link is not None:
            self.hub.remove_link(self, link)

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Run the work of a request in a task that ends with the session."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a request failed", exc_info=error)
            self.transport.close(TRY_AGAIN_LATER, "try again")

    def received(self, topic: str, message_id: int) -> None:
        """The client acknowledged a message by its id (`irn_batchReceive`)."""
        link = self.links.get(topic)
        if link is not None:
            link.acknowledge(message_id)
            self.hub.acknowledgements.changed(link)

    def deliver(self, link: TopicLink, message: KeptMessage) -> None:
        delivery = self._next_delivery
        self._next_delivery = delivery + 1
        self._sent[delivery] = Sent(link, message.id)
        self.hub.counts.delivered += 1
        self.transport.send(
            b'{"id":%d,%b%b}}' % (delivery, link.delivery_prefix(), message.json)
        )
        if len(self._sent) > MAX_UNACKNOWLEDGED:
            self.transport.close(TRY_AGAIN_LATER, "acknowledge deliveries")

    def _acknowledge(self, delivery: RpcId) -> None:
        delivery = acknowledged_id(delivery)
        if isinstance(delivery, str) and delivery.isdecimal():
            delivery = int(delivery)
        sent = self._sent.pop(delivery, None) if isinstance(delivery, int) else None
        if sent is not None:
            self.hub.counts.acknowledged += 1
            sent.link.acknowledge(sent.message_id)
            self.hub.acknowledgements.changed(sent.link)

    def end(self) -> None:
        self.is_open = False
        for task in self._tasks:
            task.cancel()
        for link in self.links.values():
            self.hub.remove_link(self, link)
        # Breaks the reference cycles, so that the memory of a connection with thousands of
        # topics is free now and not after a full garbage collection.
        self.links.clear()
        self.unserved.clear()
        self._sent.clear()
