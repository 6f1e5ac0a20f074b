"""Subscriptions of sessions to topics, and the last message delivered to each.

A message reaches a session either from the mailbox or live, never both: a `TopicLink`
keeps the last number that it delivered, and numbers only grow.
"""

from __future__ import annotations

from enum import Enum, auto
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


class LinkState(Enum):
    # The mailbox will be read, including messages that arrive until then.
    WAITING = auto()
    # The mailbox is being read; live messages queue behind it.
    READING = auto()
    # The mailbox was empty: one live message may pass before the pause ends.
    OPENING = auto()
    LIVE = auto()


class TopicLink:
    """One session's subscription of one topic."""

    __slots__ = (
        "_acknowledged",
        "_behind",
        "_recorded",
        "_session",
        "_unacknowledged",
        "is_confirmed",
        "joined_at",
        "last",
        "pause_until",
        "prefix",
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
        self.prefix = (
            b'"jsonrpc":"2.0","method":"%bsubscription","params":{"id":"%b","data":'
            % (
                method_prefix.encode(),
                subscription_id(topic, session.client).encode(),
            )
        )
        # Live messages behind the mailbox page that is being read.
        self._behind: list[KeptMessage] = []
        # Delivered and not yet known to be received, in order.
        self._unacknowledged: dict[int, None] = {}
        # Acknowledged since the cursor moved; those beyond it are recorded one by one.
        self._acknowledged: set[int] = set()
        self._recorded: set[int] = set()

    # Deliveries

    def offer(self, message: KeptMessage) -> None:
        """A live message, in log order."""
        if self.state is LinkState.LIVE:
            self._deliver(message)
        elif self.state is LinkState.READING:
            self._behind.append(message)
        elif self.state is LinkState.OPENING and self._deliver(message):
            self.state = LinkState.READING

    def begin_reading(self) -> None:
        self.state = LinkState.READING

    def stop_reading(self) -> None:
        """Leave later messages to the next page."""
        self.state = LinkState.WAITING
        self._behind.clear()

    def deliver_kept(self, message: KeptMessage) -> None:
        self._deliver(message)

    def open(self, published: Iterable[KeptMessage] = ()) -> None:
        """The mailbox was empty, but the pause after the answer is not over.

        Clients may reorder messages that they read together with the answer. A single
        message cannot be reordered, so it need not wait; later ones do, until `go_live`.
        `published` was found in the mailbox, but is later than the subscription.
        """
        self._pass_over_older()
        behind, self._behind = self._behind, []
        self.state = LinkState.OPENING
        for message in (*published, *behind):
            self.offer(message)

    def go_live(self) -> bool:
        """The mailbox was delivered; False if too many messages arrived meanwhile."""
        if len(self._behind) > MAX_WAITING:
            self.stop_reading()
            return False
        self._pass_over_older()
        behind, self._behind = self._behind, []
        self.state = LinkState.LIVE
        for message in behind:
            self._deliver(message)
        return True

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
        self._unacknowledged[message.id] = None
        self._session.deliver(self, message)
        return True

    # Acknowledgements

    def acknowledge(self, message_id: int) -> None:
        if message_id in self._unacknowledged:
            del self._unacknowledged[message_id]
            self._acknowledged.add(message_id)

    def progress(self) -> Progress:
        """What the client acknowledged since the last call."""
        through = next(iter(self._unacknowledged), self.last + 1) - 1
        beyond = {id_ for id_ in self._acknowledged if id_ > through}
        fresh = beyond - self._recorded
        tidy = not self._recorded <= beyond
        self._acknowledged = beyond
        self._recorded = set(beyond)
        return Progress(self.topic, self._session.client, through, tuple(fresh), tidy)


class TopicTable:
    """topic → links; a lookup per message, whatever the number of topics."""

    def __init__(self) -> None:
        self._links: dict[str, set[TopicLink]] = {}

    def __len__(self) -> int:
        return len(self._links)

    def __contains__(self, topic: str) -> bool:
        return topic in self._links

    def topics(self) -> Collection[str]:
        return self._links.keys()

    def add(self, link: TopicLink) -> None:
        self._links.setdefault(link.topic, set()).add(link)

    def remove(self, link: TopicLink) -> None:
        links = self._links.get(link.topic)
        if links is not None:
            links.discard(link)
            if not links:
                del self._links[link.topic]

    def deliver(self, messages: Iterable[KeptMessage]) -> None:
        """Deliver messages of the log, in its order, to all their subscribers."""
        for message in messages:
            for link in self._links.get(message.topic, ()):
                link.offer(message)
