"""A message on its way to a relay, and on its way from one.

Spec: clients/core/relay/relay-server-rpc.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from walletconnect.crypto.keys import Topic, hash_text, parse_topic
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.json_values import (
    JsonObject,
    JsonValue,
    malformed,
    require_object,
    take_integer,
)
from walletconnect.relay.methods import THIRTY_DAYS

MAX_MESSAGE_LENGTH: Final = 512 * 1024
_MAX_TTL: Final = THIRTY_DAYS

_MAX_TAG = 2**32 - 1


def message_id(message: str) -> str:
    """Identity of a message within its topic: the hash of its text."""
    return hash_text(message)


@dataclass(frozen=True, slots=True)
class Publication:
    """A message for a topic: the parameters of `irn_publish`."""

    topic: Topic
    message: str = field(repr=False)
    tag: int
    ttl: int
    prompt: bool = False

    @property
    def message_id(self) -> str:
        return message_id(self.message)

    @classmethod
    def from_params(cls, params: JsonObject) -> Publication:
        message = take_message(params, "message")
        tag = params.get("tag")
        return cls(
            topic=parse_topic(params.get("topic")),
            message=message,
            tag=0 if tag is None else take_integer(params, "tag", maximum=_MAX_TAG),
            ttl=require_ttl(params.get("ttl")),
            prompt=params.get("prompt") is True,
        )

    def to_params(self) -> JsonObject:
        return {
            "topic": self.topic,
            "message": self.message,
            "ttl": self.ttl,
            "prompt": self.prompt,
            "tag": self.tag,
        }


def take_message(params: JsonObject, name: str) -> str:
    """Base64, or empty; but a relay carries any text that a database can keep."""
    message = params.get(name)
    if not isinstance(message, str) or "\x00" in message:
        raise malformed(name)
    if len(message) > MAX_MESSAGE_LENGTH or len(message.encode()) > MAX_MESSAGE_LENGTH:
        raise RemoteProtocolError(ErrorCode.TOO_LARGE, f"{name} is too long")
    return message


def require_ttl(ttl: JsonValue) -> int:
    if not isinstance(ttl, int) or isinstance(ttl, bool):
        raise malformed("ttl")
    if ttl < 1:
        raise RemoteProtocolError(ErrorCode.REFUSED, "requested ttl is below 1 second")
    if ttl > _MAX_TTL:
        raise RemoteProtocolError(
            ErrorCode.REFUSED, f"requested ttl is above {_MAX_TTL} seconds"
        )
    return ttl


@dataclass(frozen=True, slots=True)
class PublishedMessage:
    """A message as a relay hands it on: `published_at` in milliseconds."""

    topic: Topic
    message: str = field(repr=False)
    published_at: int
    tag: int

    @property
    def message_id(self) -> str:
        return message_id(self.message)

    @classmethod
    def from_value(cls, value: JsonValue) -> PublishedMessage:
        members = require_object(value, "published message")
        message = members.get("message")
        if not isinstance(message, str):
            raise malformed("message")
        published_at = members.get("publishedAt", 0)
        tag = members.get("tag", 0)
        return cls(
            topic=parse_topic(members.get("topic")),
            message=message,
            published_at=published_at if isinstance(published_at, int) else 0,
            tag=tag if isinstance(tag, int) else 0,
        )
