"""Messages on store topics: each becomes an update, or a refusal that is logged.

Spec: WalletConnect specs, clients/core/sync/rpc-methods.md. The sender has the store key, but
may have stolen it, so its messages are checked like a stranger's.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

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

# Type byte, iv and tag.
_ENVELOPE_HEAD: Final = 1 + IV_LENGTH + TAG_LENGTH


def receive_updates(messages: list[Inbound]) -> Declined:
    """Apply messages of the relay, in the transaction of the dispatch."""
    stores = dict(
        Store.objects.filter(
            topic__in={message.topic for message in messages}
        ).values_list("topic", "pk")
    )
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
    """The update of an opened message, or why it is refused."""
    if not isinstance(payload, JsonRpcRequest):
        return RefusedArrival("not a request", size=size, published_at=published_at)
    try:
        update = parse_update(payload)
    except RemoteProtocolError as error:
        key, rpc_id = payload.params.get("key"), payload.id
        deletes = payload.method == DELETE.name
        # The log takes 64-bit ids and no null characters.
        is_loggable = isinstance(rpc_id, int) and abs(rpc_id) < 2**63
        return RefusedArrival(
            str(error),
            key=key.replace("\x00", "") if isinstance(key, str) else "",
            action=StoreUpdate.Action.DELETE if deletes else StoreUpdate.Action.SET,
            rpc_id=int(rpc_id) if is_loggable else 0,
            size=size,
            published_at=published_at,
        )
    return Arrival(update, size=size, published_at=published_at)


def envelope_size(payload: JsonRpcPayload) -> int:
    """The length of the payload's type 0 envelope in base64."""
    sealed = _ENVELOPE_HEAD + len(payload.to_json().encode())
    return 4 * -(-sealed // 3)
