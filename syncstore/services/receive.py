"""From a message on a store topic to an update, or to a refusal that is logged.

Spec: clients/core/sync/rpc-methods.md. Whoever holds the store key is a device of the
account, or has stolen it: what they send is checked like a stranger's.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from accounts.services import record_events
from messaging.dispatch import Declined, Inbound, NotHandled, Refused
from syncstore.models import Store, StoreUpdate
from syncstore.services.apply import (
    AnyArrival,
    Arrival,
    RefusedArrival,
    apply_updates,
)
from walletconnect.crypto.envelope import IV_LENGTH, TAG_LENGTH
from walletconnect.errors import RemoteProtocolError
from walletconnect.relay.rpc import JsonRpcPayload, JsonRpcRequest
from walletconnect.sync.methods import DELETE
from walletconnect.sync.store import parse_update

if TYPE_CHECKING:
    from collections.abc import Mapping

# Type byte, iv and tag.
_ENVELOPE_HEAD: Final = 1 + IV_LENGTH + TAG_LENGTH


def receive_updates(messages: list[Inbound]) -> Declined:
    """Apply what came from the relay; runs in the transaction of the dispatch."""
    stores = _store_pks({message.topic for message in messages})
    declined: dict[int, NotHandled] = {}
    arrivals: defaultdict[int, list[AnyArrival]] = defaultdict(list)
    for message in messages:
        store_pk = stores.get(message.topic)
        if store_pk is None:
            declined[message.pk] = Refused("no store has this topic")
            continue
        arrival = arrival_of(
            message.payload,
            published_at=message.published_at,
            size=envelope_size(message.payload),
        )
        arrivals[store_pk].append(arrival)
        if isinstance(arrival, RefusedArrival):
            declined[message.pk] = Refused(arrival.reason)
    applied = apply_updates(arrivals, source=StoreUpdate.Source.RELAY)
    record_events(applied.events)
    return declined


def arrival_of(
    payload: JsonRpcPayload, *, published_at: int | None, size: int = 0
) -> AnyArrival:
    """What an opened message of a store topic asks for."""
    if not isinstance(payload, JsonRpcRequest):
        return RefusedArrival("not a request", size=size, published_at=published_at)
    try:
        update = parse_update(payload)
    except RemoteProtocolError as error:
        return _refused(payload, str(error), size=size, published_at=published_at)
    return Arrival(update, size=size, published_at=published_at)


def envelope_size(payload: JsonRpcPayload) -> int:
    """How many bytes the payload's type 0 envelope has, base64 and all."""
    sealed = _ENVELOPE_HEAD + len(payload.to_json().encode())
    return 4 * -(-sealed // 3)


def _refused(
    request: JsonRpcRequest, reason: str, *, size: int, published_at: int | None
) -> RefusedArrival:
    key = request.params.get("key")
    deletes = request.method == DELETE.name
    return RefusedArrival(
        reason,
        key=key.replace("\x00", "") if isinstance(key, str) else "",
        action=StoreUpdate.Action.DELETE if deletes else StoreUpdate.Action.SET,
        rpc_id=_loggable(request.id),
        size=size,
        published_at=published_at,
    )


def _loggable(rpc_id: int | str) -> int:
    fits = isinstance(rpc_id, int) and abs(rpc_id) < 2**63
    return int(rpc_id) if fits else 0


def _store_pks(topics: set[str]) -> Mapping[str, int]:
    rows = Store.objects.filter(topic__in=topics).values_list("topic", "pk")
    return dict(rows)
