"""Rebuilding an account on a new device from the archive of a History Server.

Spec: servers/history/history-server-api.md.

Departures: the released client applies pages in the order in which they arrive, newest
first, which leaves it with one key per store. Here events are applied in ascending order
of id, and messages that do not decrypt or verify are left out instead of ending the replay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from walletconnect.crypto.envelope import open_envelope
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.jwt import DidJwt
from walletconnect.json_values import malformed
from walletconnect.notify.answers import token_of_request
from walletconnect.notify.message import ReceivedMessage, receive_message
from walletconnect.notify.methods import MESSAGE
from walletconnect.relay.rpc import JsonRpcRequest, RpcId, parse
from walletconnect.sync.store import StoreUpdate, parse_update

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from walletconnect.crypto.keys import SymKey
    from walletconnect.notify.values import NotifySubscription


def replay_store(messages: Iterable[str], store_key: SymKey) -> list[StoreUpdate]:
    """The readable updates among the archived messages of a store topic, by id."""
    updates: list[StoreUpdate] = []
    for message in messages:
        try:
            updates.append(parse_update(_open_request(message, store_key)))
        except RemoteProtocolError:
            continue
    return sorted(updates, key=lambda update: update.id)


def replay_messages(
    messages: Iterable[str],
    subscription: NotifySubscription,
    *,
    dapp_did: str,
    also_signed_by: Collection[str] = (),
    now: int,
) -> list[ReceivedMessage]:
    """The notifications among the archived messages of a notify topic.

    `also_signed_by` are keys of the dapp that it replaced. Oldest first, and each once although the archive may hold repeats.
    """
    received: dict[RpcId, ReceivedMessage] = {}
    for message in messages:
        try:
            request = _open_request(message, subscription.sym_key)
            if request.id not in received:
                issuer = DidJwt.parse(token_of_request(request, MESSAGE)).iss
                received[request.id] = receive_message(
                    request,
                    subscription.account,
                    app=subscription.app,
                    dapp_did=issuer if issuer in also_signed_by else dapp_did,
                    now=now,
                    archived=True,
                )
        except RemoteProtocolError:
            continue
    return sorted(received.values(), key=lambda each: each.iat)


def _open_request(message: str, sym_key: SymKey) -> JsonRpcRequest:
    payload = parse(open_envelope(message, sym_key))
    if not isinstance(payload, JsonRpcRequest):
        raise malformed("request")
    return payload
