"""The relay's methods: their parameters, parsed and checked, and the ids of the relay.

Spec: clients/core/relay/relay-server-rpc.md.

`from_params` is for the relay, `to_params` for its clients; what only one side needs has
only one of them. Unknown members are ignored: clients send `attestation`, `tvf` and more.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from walletconnect.crypto.keys import Topic, hash_text, parse_topic
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.json_values import (
    JsonObject,
    JsonValue,
    malformed,
    require_object,
)
from walletconnect.relay.messages import (
    Publication,
    PublishedMessage,
)

MAX_BATCH: Final = 500

_MAX_ID_LENGTH = 128

# The first is the current one; the reference relay still answers to the others.
PREFIXES: Final = ("irn_", "waku_", "iridium_")


class RelayMethod(StrEnum):
    """Method names without their prefix."""

    PUBLISH = "publish"
    BATCH_PUBLISH = "batchPublish"
    SUBSCRIBE = "subscribe"
    BATCH_SUBSCRIBE = "batchSubscribe"
    SUBSCRIBE_BLOCKING = "subscribeBlocking"
    BATCH_SUBSCRIBE_BLOCKING = "batchSubscribeBlocking"
    UNSUBSCRIBE = "unsubscribe"
    BATCH_UNSUBSCRIBE = "batchUnsubscribe"
    FETCH_MESSAGES = "fetchMessages"
    BATCH_FETCH_MESSAGES = "batchFetchMessages"
    BATCH_RECEIVE = "batchReceive"
    SUBSCRIPTION = "subscription"  # relay to client

    @property
    def wire(self) -> str:
        return PREFIXES[0] + self


class RelayErrorCode(IntEnum):
    """Codes in the relay's JSON-RPC errors."""

    AUTH = 3000
    TOO_MANY_REQUESTS = 3001
    INVALID_PAYLOAD = -32600
    UNKNOWN_METHOD = -32601
    INTERNAL = -32603
    HANDLER = -32000


_RELAY_CODES = {
    ErrorCode.MALFORMED: RelayErrorCode.INVALID_PAYLOAD,
    ErrorCode.TOO_LARGE: RelayErrorCode.INVALID_PAYLOAD,
    ErrorCode.UNSUPPORTED: RelayErrorCode.UNKNOWN_METHOD,
    ErrorCode.UNAUTHENTIC: RelayErrorCode.AUTH,
    ErrorCode.INTERNAL: RelayErrorCode.INTERNAL,
}


def relay_error_code(error: RemoteProtocolError) -> RelayErrorCode:
    return _RELAY_CODES.get(error.code, RelayErrorCode.HANDLER)


def subscription_id(topic: Topic, client_id: str) -> str:
    """The id of a relay subscription.

    Clients compute it themselves and ignore the relay's answer, so it is a formula.
    """
    return hash_text(topic + client_id)


def split_method(name: str) -> tuple[str, RelayMethod]:
    """Prefix and method of a request's name; the prefix comes back in deliveries."""
    for prefix in PREFIXES:
        if name.startswith(prefix):
            try:
                return prefix, RelayMethod(name[len(prefix) :])
            except ValueError:
                break
    raise RemoteProtocolError(ErrorCode.UNSUPPORTED, "unknown method")


def _take_batch(params: JsonObject, name: str) -> list[JsonValue]:
    batch = params.get(name)
    if not isinstance(batch, list):
        raise malformed(name)
    if len(batch) > MAX_BATCH:
        raise RemoteProtocolError(
            ErrorCode.TOO_LARGE, f"a batch has at most {MAX_BATCH} elements"
        )
    return batch


@dataclass(frozen=True, slots=True)
class BatchPublish:
    messages: tuple[Publication, ...]

    @classmethod
    def from_params(cls, params: JsonObject) -> BatchPublish:
        batch = _take_batch(params, "messages")
        return cls(
            tuple(
                Publication.from_params(require_object(each, "messages"))
                for each in batch
            )
        )

    def to_params(self) -> JsonObject:
        return {"messages": [each.to_params() for each in self.messages]}


@dataclass(frozen=True, slots=True)
class Subscribe:
    topic: Topic

    @classmethod
    def from_params(cls, params: JsonObject) -> Subscribe:
        return cls(parse_topic(params.get("topic")))

    def to_params(self) -> JsonObject:
        return {"topic": self.topic}


@dataclass(frozen=True, slots=True)
class BatchSubscribe:
    topics: tuple[Topic, ...]

    @classmethod
    def from_params(cls, params: JsonObject) -> BatchSubscribe:
        return cls(_take_topics(params))

    def to_params(self) -> JsonObject:
        return {"topics": list(self.topics)}


def _take_topics(params: JsonObject) -> tuple[Topic, ...]:
    return tuple(parse_topic(each) for each in _take_batch(params, "topics"))


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """`id` is whatever the client made up: a relay goes by client and topic."""

    topic: Topic
    id: str = ""

    @classmethod
    def from_params(cls, params: JsonObject) -> Unsubscribe:
        return cls(parse_topic(params.get("topic")), _optional_id(params, "id"))

    def to_params(self) -> JsonObject:
        return {"topic": self.topic, "id": self.id}


def _optional_id(params: JsonObject, name: str) -> str:
    value = params.get(name)
    return value[:_MAX_ID_LENGTH] if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class BatchUnsubscribe:
    subscriptions: tuple[Unsubscribe, ...]

    @classmethod
    def from_params(cls, params: JsonObject) -> BatchUnsubscribe:
        batch = _take_batch(params, "subscriptions")
        return cls(
            tuple(
                Unsubscribe.from_params(require_object(each, "subscriptions"))
                for each in batch
            )
        )

    def to_params(self) -> JsonObject:
        return {"subscriptions": [each.to_params() for each in self.subscriptions]}


@dataclass(frozen=True, slots=True)
class Fetch:
    """`irn_fetchMessages`: what is kept for one topic. Fetching acknowledges."""

    topic: Topic

    @classmethod
    def from_params(cls, params: JsonObject) -> Fetch:
        return cls(parse_topic(params.get("topic")))


@dataclass(frozen=True, slots=True)
class BatchFetch:
    topics: tuple[Topic, ...]

    @classmethod
    def from_params(cls, params: JsonObject) -> BatchFetch:
        return cls(_take_topics(params))


@dataclass(frozen=True, slots=True)
class Receipt:
    """One message that was handled."""

    topic: Topic
    message_id: str


@dataclass(frozen=True, slots=True)
class BatchReceive:
    receipts: tuple[Receipt, ...]

    @classmethod
    def from_params(cls, params: JsonObject) -> BatchReceive:
        batch = _take_batch(params, "receipts")
        return cls(tuple(_read_receipt(each) for each in batch))


def _read_receipt(value: JsonValue) -> Receipt:
    members = require_object(value, "receipts")
    # A message id has the form of a topic: 64 hex digits.
    return Receipt(
        parse_topic(members.get("topic")), str(parse_topic(members.get("messageId")))
    )


@dataclass(frozen=True, slots=True)
class Delivery:
    """`irn_subscription`: the relay hands a message to a subscriber."""

    subscription_id: str
    published: PublishedMessage

    @classmethod
    def from_params(cls, params: JsonObject) -> Delivery:
        return cls(
            _optional_id(params, "id"), PublishedMessage.from_value(params.get("data"))
        )
