"""The shape of one row of the spec's method tables, and every relay tag.

Spec: clients/notify/rpc-methods.md, clients/core/sync/rpc-methods.md. A receiver dispatches
by tag, because method names differ between versions.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MINUTE: Final = 60
DAY: Final = 86_400
THIRTY_DAYS: Final = 2_592_000


class SessionTag(IntEnum):
    """Tags that a relay puts on the messages of a session call (Sign API)."""

    PROPOSE = 1100
    PROPOSE_RESPONSE = 1101
    SETTLE = 1102


class Tag(IntEnum):
    NOTIFY_SUBSCRIBE = 4000
    NOTIFY_SUBSCRIBE_RESPONSE = 4001
    NOTIFY_MESSAGE = 4002
    NOTIFY_MESSAGE_RESPONSE = 4003
    NOTIFY_DELETE = 4004
    NOTIFY_DELETE_RESPONSE = 4005
    NOTIFY_UPDATE = 4008
    NOTIFY_UPDATE_RESPONSE = 4009
    NOTIFY_WATCH_SUBSCRIPTIONS = 4010
    NOTIFY_WATCH_SUBSCRIPTIONS_RESPONSE = 4011
    NOTIFY_SUBSCRIPTIONS_CHANGED = 4012
    NOTIFY_SUBSCRIPTIONS_CHANGED_RESPONSE = 4013
    NOTIFY_GET_NOTIFICATIONS = 4014
    NOTIFY_GET_NOTIFICATIONS_RESPONSE = 4015
    NOTIFY_MARK_NOTIFICATIONS_AS_READ = 4016
    NOTIFY_MARK_NOTIFICATIONS_AS_READ_RESPONSE = 4017
    NOTIFY_KEEP_ALIVE = 4050
    SYNC_SET = 5000
    SYNC_SET_RESPONSE = 5001
    SYNC_DELETE = 5002
    SYNC_DELETE_RESPONSE = 5003


@dataclass(frozen=True, slots=True)
class Method:
    """One JSON-RPC method between clients.

    `ttl` and `response_ttl` are the seconds that a relay keeps what *we* publish, and the
    life of the tokens in it. `param` and `result` name those tokens.
    """

    name: str
    tag: Tag
    response_tag: Tag
    ttl: int
    response_ttl: int
    param: str = ""
    result: str = ""
    prompt: bool = False
