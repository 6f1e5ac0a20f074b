"""Subscriptions of sessions to topics, and the last message delivered to each.

A message reaches a session either from the mailbox or live, never both: a `TopicLink`
keeps the last number that it delivered, and numbers only grow.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from relayserver.values import Progress
from walletconnect.relay.frames import subscription_id

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from relayserver.connections.session import Session
    from relayserver.values import KeptMessage
    from walletconnect.crypto.keys import Topic

# Live messages that wait for one mailbox page; with more, the page is read again.
MAX_WAITING = 1_000


class LinkState(IntEnum):
    # The mailbox will be read, including messages that arrive until then.
    WAITING = 0
    # The mailbox is being read; live messages queue behind it.
    READING = 1
    # The mailbox was empty: one live message may pass before the pause ends.
    OPENING = 2
    LIVE = 3


class Flow:
    """What a link keeps while messages pass through it."""

    __slots__ = ("acknowledged", "behind", "recorded", "unacknowledged")

    def __init__(self) -> None:
        # Live messages behind the mailbox page that is being read.
        self.behind: list[KeptMessage] = []
        # Delivered and not yet acknowledged, in order.
        self.unacknowledged: dict[int, None] = {}
        # Acknowledged since the cursor moved; those beyond it are recorded one by one.
        self.acknowledged: set[int] = set()
        self.recorded: frozenset[int] = frozenset()

    @property
    def is_empty(self) -> bool:
        return not (
            self.behind or self.unacknowledged or self.acknowledged or self.recorded
        )


class TopicLink:
    """One session's subscription of one topic.

    Most topics are idle, and a client may subscribe thousands. So the collections of a link
    exist only while they have members, and the prefix of deliveries is made for each of
    them: that costs 2 us of CPU time per delivery and saves 0.2 KB per topic. `python -m
    bench topics` measures the bytes per topic (docs/performance.md).
    """

    __slots__ = (
        "_flow",
        "_session",
        "is_confirmed",
        "joined_at",
        "last",
        "method_prefix",
        "pause_until",
        "reservations",
        "state",
        "topic",
    )

    def __init__(
        self, session: Session, topic: Topic, method_prefix: str, *, joined_at: int = 0
    ) -> None:
        self._session = session
        self.topic = topic
        # False while all calls that subscribe the topic wait for their commit.
        self.is_confirmed = False
        self.reservations = 0
        self.state = LinkState.WAITING
        # The last message of the log when the connection subscribed; 0 if unknown.
        self.joined_at = joined_at
        self.pause_until = 0.0
        self.last = 0
        self.method_prefix = method_prefix
        self._flow: Flow | None = None

    def delivery_prefix(self) -> bytes:
        """The members of a delivery between its id and its message."""
        return (
            b'"jsonrpc":"2.0","method":"%bsubscription","params":{"id":"%b","data":'
            % (
                self.method_prefix.encode(),
                subscription_id(self.topic, self._session.client).encode(),
            )
        )

    # Deliveries

    def offer(self, message: KeptMessage) -> None:
        """A live message, in log order."""
        if self.state is LinkState.LIVE:
            self._deliver(message)
        elif self.state is LinkState.READING:
            self._flowing().behind.append(message)
        elif self.state is LinkState.OPENING and self._deliver(message):
            self.state = LinkState.READING

    def begin_reading(self) -> None:
        self.state = LinkState.READING

    def stop_reading(self) -> None:
        """Leave later messages to the next page."""
        self.state = LinkState.WAITING
        self._take_behind()

    def deliver_kept(self, message: KeptMessage) -> None:
        self._deliver(message)

    def open(self, published: Iterable[KeptMessage] = ()) -> None:
        """The mailbox was empty, but the pause after the answer is not over.

        Clients may reorder messages that they read together with the answer. A single
        message cannot be reordered, so it need not wait; later ones do, until `go_live`.
        `published` was found in the mailbox, but is later than the subscription.
        """
        self._pass_over_older()
        behind = self._take_behind()
        self.state = LinkState.OPENING
        for message in (*published, *behind):
            self.offer(message)

    def go_live(self) -> bool:
        """The mailbox was delivered; False if too many messages arrived meanwhile."""
        if self._flow is not None and len(self._flow.behind) > MAX_WAITING:
            self.stop_reading()
            return False
        self._pass_over_older()
        behind = self._take_behind()
        self.state = LinkState.LIVE
        for message in behind:
            self._deliver(message)
        return True

    def _flowing(self) -> Flow:
        if self._flow is None:
            self._flow = Flow()
        return self._flow

    def _take_behind(self) -> list[KeptMessage]:
        flow = self._flow
        if flow is None:
            return []
        behind, flow.behind = flow.behind, []
        if flow.is_empty:
            self._flow = None
        return behind

    def _pass_over_older(self) -> None:
        """Skip messages from before the subscription, which the mailbox has covered.

        A tick of another node may still arrive with messages that the client has
        acknowledged; only the mailbox query excludes those.
        """
        self.last = max(self.last, self.joined_at)

    def _deliver(self, message: KeptMessage) -> bool:
        """Returns whether it was sent to the client."""
        if message.id <= self.last:
            return False
        self.last = message.id
        # A client does not receive its own messages, on any of its connections.
        if message.publisher == self._session.client:
            return False
        self._flowing().unacknowledged[message.id] = None
        self._session.deliver(self, message)
        return True

    # Acknowledgements

    def acknowledge(self, message_id: int) -> None:
        flow = self._flow
        if flow is None or message_id not in flow.unacknowledged:
            return
        del flow.unacknowledged[message_id]
        flow.acknowledged.add(message_id)

    def progress(self) -> Progress:
        """What the client acknowledged since the last call."""
        flow = self._flowing()
        through = next(iter(flow.unacknowledged), self.last + 1) - 1
        beyond = frozenset(id_ for id_ in flow.acknowledged if id_ > through)
        fresh = beyond - flow.recorded
        tidy = not flow.recorded <= beyond
        flow.acknowledged = set(beyond)
        flow.recorded = beyond
        if flow.is_empty:
            self._flow = None
        return Progress(self.topic, self._session.client, through, tuple(fresh), tidy)


class TopicTable:
    """topic → link, or links if several sessions have subscribed it.

    A set per topic would take 216 bytes, and nearly all topics have one link.
    """

    def __init__(self) -> None:
        self._links: dict[str, TopicLink | set[TopicLink]] = {}
        self._max_size = 0

    def __len__(self) -> int:
        return len(self._links)

    def __contains__(self, topic: str) -> bool:
        return topic in self._links

    def topics(self) -> Collection[str]:
        return self._links.keys()

    def add(self, link: TopicLink) -> None:
        found = self._links.setdefault(link.topic, link)
        if isinstance(found, set):
            found.add(link)
        elif found is not link:
            self._links[link.topic] = {found, link}
        self._max_size = max(self._max_size, len(self._links))

    def remove(self, link: TopicLink) -> None:
        found = self._links.get(link.topic)
        if isinstance(found, set):
            found.discard(link)
            if len(found) == 1:
                [self._links[link.topic]] = found
        elif found is link:
            del self._links[link.topic]

    def shrink(self) -> None:
        """Give memory back after many topics went: a dict does not shrink by itself."""
        if len(self._links) < self._max_size // 4:
            self._links = dict(self._links)
            self._max_size = len(self._links)

    def deliver(self, messages: Iterable[KeptMessage]) -> None:
        """Deliver messages of the log, in its order, to all their subscribers."""
        for message in messages:
            found = self._links.get(message.topic)
            if isinstance(found, set):
                for link in found:
                    link.offer(message)
            elif found is not None:
                found.offer(message)
