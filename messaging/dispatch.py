"""The registry of message handlers, by party and relay tag.

This package imports no app above it. Every app has a ``handlers.py`` that is imported at
start (``MessagingConfig.ready``) and registers::

    @handles(Party.CAST, Tag.NOTIFY_SUBSCRIBE, prepare=resolve_identities)
    def on_notify_subscribe(messages: list[Inbound]) -> Declined | None: ...

A handler takes a run of messages of one tag, in order per topic, in ONE transaction that
also marks them handled, so a message that is delivered again finds the mark. ``prepare`` runs before that, outside any
transaction, and may use the network.

For messages that it declines, a handler returns ``{message.pk: Refused(...)}`` or raises.
After an exception the whole run is rolled back and repeated message by message, each in a
savepoint, so that only the one that raises is affected:

========================  =========================================================
``Refused(reason)``       permanent: state ``refused``; no reply is sent
``TryLater(reason)``      temporary: due again after a back-off, for a day
any other exception       a defect: counted, retried, then state ``failed``
========================  =========================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from messaging.models import Party

if TYPE_CHECKING:
    from datetime import datetime

    from walletconnect.crypto.keys import SymKey, Topic
    from walletconnect.relay.rpc import JsonRpcPayload


@dataclass(frozen=True, slots=True)
class Inbound:
    """An opened message, as handlers receive it.

    ``sym_key`` is the key that opened it: of the topic for a type 0 envelope, derived
    from our key pair and ``sender_public_key`` for type 1.
    """

    pk: int
    party: Party
    topic: Topic
    tag: int
    message_id: str
    published_at: int
    received_at: datetime
    envelope_type: int
    sym_key: SymKey = field(repr=False)
    sender_public_key: bytes | None
    payload: JsonRpcPayload = field(repr=False)


class NotHandled(Exception):
    """Why a message was not handled. The reason is kept with the row: no secrets."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Refused(NotHandled):
    """This message will never be handled."""


class TryLater(NotHandled):
    """Something outside is missing now; the message is due again later."""


Declined: TypeAlias = Mapping[int, NotHandled]
Handler: TypeAlias = Callable[[list[Inbound]], Declined | None]


@dataclass(frozen=True, slots=True)
class Route:
    """How a (party, tag) is handled."""

    handler: Handler
    prepare: Handler | None


_routes: dict[tuple[Party, int], Route] = {}


def handles(
    party: Party, tag: int, *, prepare: Handler | None = None
) -> Callable[[Handler], Handler]:
    """Register the decorated function for messages of ``tag`` that ``party`` receives."""

    def register(handler: Handler) -> Handler:
        key = (Party(party), int(tag))
        known = _routes.get(key)
        if known is not None and known.handler is not handler:
            raise ValueError(f"{party} already has a handler for tag {tag}")
        _routes[key] = Route(handler, prepare)
        return handler

    return register


def route_of(party: Party, tag: int) -> Route | None:
    return _routes.get((Party(party), tag))


def routes() -> Mapping[tuple[Party, int], Route]:
    """All registered routes, for checks and tests."""
    return dict(_routes)
