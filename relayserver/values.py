"""Values that the parts of the relay exchange.

The hot path creates thousands of them per second, so they are named tuples and slotted
classes: a frozen dataclass takes four times as long to create.
"""

from __future__ import annotations

from typing import NamedTuple

import orjson


class Draft(NamedTuple):
    """A valid publication that waits to be written."""

    topic: str
    message_id: str
    message: str
    tag: int
    attestation: str | None
    publisher: str
    published_at: int
    expires_at: int


class KeptMessage:
    """A message of the log. Its JSON is made once, for the first subscriber."""

    __slots__ = ("_json", "id", "publisher", "topic")

    def __init__(self, id: int, topic: str, publisher: str, json: bytes | Draft):
        self.id = id
        self.topic = topic
        self.publisher = publisher
        self._json = json

    @property
    def json(self) -> bytes:
        """The ``data`` member of ``irn_subscription``, an element of a fetch result."""
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
    # Formatting copies the output of orjson, whose buffer has at least 8 KB.
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
    """One commit of the log: numbers ``first`` to ``last``.

    ``messages`` are the new ones: a repeated message uses up a number but is not stored.
    """

    first: int
    last: int
    messages: list[KeptMessage]


# As `Wanted.joined_at`: acknowledgements apply to every message.
NEVER_JOINED = 2**63 - 1


class Wanted(NamedTuple):
    """A topic to read for a client, and the message after which to begin.

    `joined_at` is the last message of the log when the connection subscribed. Later ones
    are delivered even if the client has acknowledged them on another connection.
    """

    topic: str
    after: int
    joined_at: int


class Page(NamedTuple):
    """Part of a mailbox or of the log; ``cut`` when there may be more."""

    messages: list[KeptMessage]
    cut: bool


class Progress(NamedTuple):
    """What a client has acknowledged of a topic: all up to ``through``, and ``beyond``."""

    topic: str
    client: str
    through: int
    beyond: tuple[int, ...]
    # Single acknowledgements at or below `through` are in the database.
    tidy: bool
