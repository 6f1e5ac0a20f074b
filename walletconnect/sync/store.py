"""A store's updates, and the rule that makes all devices end in one state.

Spec: clients/core/sync/sync-protocol.md, "Setting/Updating/Deleting State".

Per key the highest id wins. A delete leaves its id behind, so that a set with a lower id that
arrives afterwards has no effect. The spec leaves equal ids open: here the first one stays
and the second is a duplicate.

Departure: sync-client 0.3.8 compares an incoming id with the newest id of the *whole*
store, and lets the second of two equal ids win. Its outcome depends on the order of arrival;
ours does not, as long as no two different updates of one key share an id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from walletconnect.crypto.envelope import seal
from walletconnect.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from walletconnect.json_values import (
    MAX_SAFE_INTEGER,
    require_integer,
    require_text,
)
from walletconnect.relay.messages import Publication
from walletconnect.relay.rpc import JsonRpcRequest
from walletconnect.sync.methods import DELETE, SET

if TYPE_CHECKING:
    from walletconnect.crypto.keys import SymKey

MAX_KEY_LENGTH: Final = 512
_MAX_VALUE_LENGTH: Final = 128 * 1024


@dataclass(frozen=True, slots=True)
class StoreSet:
    """`wc_syncSet`. `value` may hold secrets and does not show in `repr`."""

    key: str
    value: str = field(repr=False)
    id: int

    def to_request(self) -> JsonRpcRequest:
        return JsonRpcRequest(self.id, SET.name, {"key": self.key, "value": self.value})


@dataclass(frozen=True, slots=True)
class StoreDelete:
    """`wc_syncDel`."""

    key: str
    id: int

    def to_request(self) -> JsonRpcRequest:
        return JsonRpcRequest(self.id, DELETE.name, {"key": self.key})


StoreUpdate: TypeAlias = StoreSet | StoreDelete


def parse_update(request: JsonRpcRequest) -> StoreUpdate:
    """The update in a request from a store topic."""
    update_id = require_integer(request.id, "id", minimum=1)
    key = require_text(request.params.get("key"), "key", max_length=MAX_KEY_LENGTH)
    if request.method == DELETE.name:
        return StoreDelete(key, update_id)
    if request.method != SET.name:
        raise RemoteProtocolError(ErrorCode.UNSUPPORTED, "unknown method")
    value = require_text(
        request.params.get("value"), "value", max_length=_MAX_VALUE_LENGTH
    )
    return StoreSet(key, value, update_id)


def publish_update(update: StoreUpdate, store_key: SymKey, *, iv: bytes) -> Publication:
    """The message for every device of the account."""
    method = SET if isinstance(update, StoreSet) else DELETE
    return Publication(
        topic=store_key.topic,
        message=seal(update.to_request().to_json(), store_key, iv=iv),
        tag=method.tag,
        ttl=method.ttl,
        prompt=method.prompt,
    )


def next_id(now_id: int, last_id: int) -> int:
    """The id of a local write, above the last one even if that was from the future.

    After the greatest id that JavaScript can represent, the key can no longer be written.
    """
    update_id = max(now_id, last_id + 1)
    if update_id > MAX_SAFE_INTEGER:
        raise LocalProtocolError("the ids of this key are used up")
    return update_id


class Outcome(StrEnum):
    """What an update did to a state."""

    APPLIED = "applied"
    STALE = "stale"
    DUPLICATE = "duplicate"


def outcome_of(update_id: int, last_id: int | None) -> Outcome:
    """The rule itself, for one key whose last update had `last_id` (None: never seen)."""
    if last_id is None or update_id > last_id:
        return Outcome.APPLIED
    return Outcome.DUPLICATE if update_id == last_id else Outcome.STALE
