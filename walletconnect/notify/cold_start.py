"""A device that joins later: everything rebuilt from what a History Server kept.

Spec: servers/history; the seed's "Wx"; protocol.md, sections 4.3 and 9; design.md 5.

    1  replay_store      the store's updates, oldest first: the state of the store
    2  adopt_all         the account's subscriptions in that state
    3  replay_messages   each subscription's notifications, oldest first

Departures: the shipped client feeds pages in the order they come, newest first, and then
drops all keys but one (protocol.md 4.3). Here events are applied in ascending order of id,
and a message that does not open or verify is counted, never fatal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from walletconnect.crypto.envelope import open_envelope
from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import malformed
from walletconnect.notify.message import ReceivedMessage, receive_message
from walletconnect.notify.subscribe import Adoption, adopt_subscription
from walletconnect.relay.rpc import JsonRpcRequest, RpcId, parse
from walletconnect.sync.store import StoreSet, StoreState, StoreUpdate, parse_update

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from walletconnect.crypto.keys import SymKey
    from walletconnect.identity.did import AccountId
    from walletconnect.notify.values import NotifySubscription


@dataclass(frozen=True, slots=True)
class StoreReplay:
    """The updates in ascending order, the state they make, and what was left out."""

    updates: tuple[StoreUpdate, ...]
    state: StoreState
    unreadable: int


def replay_store(messages: Iterable[str], store_key: SymKey) -> StoreReplay:
    """The store of `store_key` from the archived messages of its topic, in any order."""
    updates: list[StoreUpdate] = []
    unreadable = 0
    for message in messages:
        try:
            updates.append(parse_update(_open_request(message, store_key)))
        except RemoteProtocolError:
            unreadable += 1
    updates.sort(key=lambda update: update.id)
    return StoreReplay(tuple(updates), StoreState(updates), unreadable)


def _open_request(message: str, sym_key: SymKey) -> JsonRpcRequest:
    payload = parse(open_envelope(message, sym_key))
    if not isinstance(payload, JsonRpcRequest):
        raise malformed("request")
    return payload


def adopt_all(state: StoreState, account: AccountId, *, now: int) -> Iterator[Adoption]:
    """The subscriptions in a store that are sound, the account's own, and in time."""
    for update in state.updates.values():
        if isinstance(update, StoreSet):
            try:
                yield adopt_subscription(update, account, now=now)
            except RemoteProtocolError:
                continue


@dataclass(frozen=True, slots=True)
class MessageReplay:
    """The notifications, oldest first, each once."""

    messages: tuple[ReceivedMessage, ...]
    unreadable: int


def replay_messages(
    messages: Iterable[str],
    subscription: NotifySubscription,
    *,
    dapp_did: str,
    now: int,
) -> MessageReplay:
    """The notifications of a subscription from its topic's archived messages."""
    received: dict[RpcId, ReceivedMessage] = {}
    unreadable = 0
    for message in messages:
        try:
            request = _open_request(message, subscription.sym_key)
            if request.id not in received:
                received[request.id] = receive_message(
                    request,
                    subscription.account,
                    app=subscription.app,
                    dapp_did=dapp_did,
                    now=now,
                    archived=True,
                )
        except RemoteProtocolError:
            unreadable += 1
    in_order = sorted(received.values(), key=lambda each: each.iat)
    return MessageReplay(tuple(in_order), unreadable)
