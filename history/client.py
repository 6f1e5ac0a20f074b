"""Our client of a History Server: what it kept of a topic.

Spec: servers/history; protocol.md, section 9. The base URL is always passed: the
published client's second parameter falls back to a production host.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlencode

from django.conf import settings

from groundwork import outbound
from groundwork.outbound import OutboundError
from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import (
    JsonValue,
    parse_object,
    require_object,
    take_line,
    take_list,
    take_text,
)
from walletconnect.relay.frames import LONGEST_MESSAGE

DEADLINE_S: Final = 30.0
MOST_BYTES: Final = 32 * 1024 * 1024
MOST_MESSAGES: Final = 1_000


class HistoryUnavailable(Exception):
    """The History Server gave no usable answer; trying again may help."""


@dataclass(frozen=True, slots=True)
class ArchivedMessage:
    """``message_id`` is the sha256 of ``message``, the envelope."""

    message_id: str
    message: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Page:
    messages: tuple[ArchivedMessage, ...]
    next_id: str | None


def messages(
    topic: str,
    *,
    direction: Literal["forward", "backward"],
    count: int,
    origin: str | None = None,
) -> Page:
    """A page of a topic's messages; ``origin`` is included in its page."""
    query = {"topic": topic, "direction": direction, "messageCount": str(count)}
    if origin is not None:
        query["originId"] = origin
    url = f"{settings.HISTORY_SERVER_URL}/messages?{urlencode(query)}"
    try:
        answer = outbound.fetch("GET", url, max_bytes=MOST_BYTES, deadline=DEADLINE_S)
        if answer.status != 200:
            raise HistoryUnavailable(f"the answer is {answer.status}")
        return _page(answer.body, topic)
    except OutboundError as error:
        raise HistoryUnavailable(str(error)) from None
    except RemoteProtocolError as error:
        raise HistoryUnavailable(error.message) from None


def _page(body: bytes, topic: str) -> Page:
    members = parse_object(body, "history page")
    found = take_list(members, "messages", longest=MOST_MESSAGES)
    next_id = members.get("nextId")
    return Page(
        messages=tuple(_message(each, topic) for each in found),
        next_id=next_id if isinstance(next_id, str) else None,
    )


def _message(value: JsonValue, topic: str) -> ArchivedMessage:
    members = require_object(value, "archived message")
    if members.get("topic", topic) != topic:
        raise HistoryUnavailable("it answered for another topic")
    return ArchivedMessage(
        message_id=take_line(members, "message_id", longest=128),
        message=take_text(members, "message", longest=LONGEST_MESSAGE),
    )
