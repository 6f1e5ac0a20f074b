"""What the parts of the relay hand to each other.

Values of the hot path are made by the thousand and second, so they are named tuples and
slotted classes, not frozen dataclasses, which cost four times as much to make.
"""

from __future__ import annotations

from typing import NamedTuple

import orjson


class Draft(NamedTuple):
    """A publication that was checked and waits to be written."""

    topic: str
    message_id: str
    message: str
    tag: int
    attestation: str | None
    publisher: str
    published_at: int
    expires_at: int


class KeptMessage:
    """A message of the log. Its JSON is made once, when the first reader needs it."""

    __slots__ = ("_json", "id", "publisher", "topic")

    def __init__(self, id: int, topic: str, publisher: str, json: bytes | Draft):
        self.id = id
        self.topic = topic
        self.publisher = publisher
        self._json = json

    @property
    def json(self) -> bytes:
        """The ``data`` member of ``irn_subscription``, the element of a fetch answer."""
        if isinstance(self._json, Draft):
            draft = self._json
            self._json = message_json(
                draft.topic,
                draft.message,
                published_at=draft.published_at,
                tag=draft.tag,
                attestation=draft.attestation,
            )
        return self._json


def message_json(
    topic: str,
    message: str,
    *,
    published_at: int,
    tag: int,
    attestation: str | None,
) -> bytes:
    # Formatting copies what orjson made, which would otherwise pin 8 KB per message.
    json = b'{"topic":"%b","message":%b,"publishedAt":%d,"tag":%d' % (
        topic.encode(),
        orjson.dumps(message),
        published_at,
        tag,
    )
    if attestation:
        return b'%b,"attestation":%b}' % (json, orjson.dumps(attestation))
    return json + b"}"


class Tick(NamedTuple):
    """What one commit added to the log: numbers ``first`` to ``last``.

    ``messages`` are the new ones among them: a repeated text uses up its number and is no
    message.
    """

    first: int
    last: int
    messages: list[KeptMessage]


# As `Wanted.joined_at`: acknowledgements count for every message.
NEVER_JOINED = 2**63 - 1


class Wanted(NamedTuple):
    """A topic to read for a client, and the message after which to begin.

    `joined_at` is the last message of the log when the connection subscribed. Later ones
    are for that connection, also if the client acknowledged them on another.
    """

    topic: str
    after: int
    joined_at: int


class Page(NamedTuple):
    """Part of a mailbox or of the log; ``cut`` when there may be more."""

    messages: list[KeptMessage]
    cut: bool


class Progress(NamedTuple):
    """What a client has of a topic: everything up to ``through``, and ``beyond``."""

    topic: str
    client: str
    through: int
    beyond: tuple[int, ...]
    # Some acknowledgements at or below `through` are in the database one by one.
    tidy: bool
