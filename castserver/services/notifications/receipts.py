"""Receipts: a device of the account got the notification.

protocol.md, sections 5.3 and 5.6. Every device of an account sends one for every message, and
again after a replay from History: many, late and repeated. They are matched by JSON-RPC
id; the first that is genuine counts and the rest are not even verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import connection

from castserver.models import Delivery
from castserver.services.projects.identities import (
    allowed_keys_servers,
    dapp_identities,
)
from castserver.services.subscribers.requests import look_up_claims
from common import clock
from identity.services import known_identities
from messaging.dispatch import Refused
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId
from walletconnect.notify.message import claimed_receipt, read_receipt
from walletconnect.notify.parties import ClaimedIdentity
from walletconnect.relay.rpc import JsonRpcError, JsonRpcResult, acknowledged_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from messaging.dispatch import Inbound, NotHandled
    from walletconnect.identity.cacao import Cacao
    from walletconnect.notify.parties import DappIdentity

NOT_A_RECEIPT: Final = "not a receipt"
UNKNOWN: Final = "the key server does not know the identity key"

_RECEIVED: Final = """
UPDATE castserver_delivery SET receipt_at = v.at
FROM unnest(%s::uuid[], %s::timestamptz[]) AS v(id, at)
WHERE castserver_delivery.id = v.id AND receipt_at IS NULL
"""


def look_up(messages: Sequence[Inbound]) -> dict[int, NotHandled]:
    """Have the identities known whose receipts still count."""
    deliveries = awaited(messages)
    return look_up_claims(_claims(each for each in messages if each.pk in deliveries))


def take_all(messages: Sequence[Inbound]) -> dict[int, NotHandled]:
    """Note what arrived, in the caller's transaction."""
    deliveries = awaited(messages)
    counted = [each for each in messages if each.pk in deliveries]
    if not counted:
        return {}
    dapps = dapp_identities({each.subscriber.project for each in deliveries.values()})
    claims = _claims(counted)
    known = known_identities({claim.did for claim in claims.values()})
    received: dict[str, Delivery] = {}
    declined: dict[int, NotHandled] = {}
    for message in counted:
        delivery = deliveries[message.pk]
        try:
            _verify(message, delivery, dapps, claims=claims, known=known)
        except RemoteProtocolError as error:
            declined[message.pk] = Refused(str(error)[:200])
        except Refused as reason:
            declined[message.pk] = reason
        else:
            received.setdefault(str(delivery.pk), delivery)
    _note(received.values())
    return declined


def awaited(messages: Iterable[Inbound]) -> dict[int, Delivery]:
    """The deliveries that have no receipt yet, by the message that may be one."""
    ids = {
        message.pk: (message.topic, rpc_id)
        for message in messages
        if (rpc_id := _rpc_id(message)) is not None
    }
    rows = Delivery.objects.select_related("subscriber__project").filter(
        subscriber__topic__in={topic for topic, _ in ids.values()},
        rpc_id__in={rpc_id for _, rpc_id in ids.values()},
        receipt_at=None,
    )
    found = {(row.subscriber.topic, row.rpc_id): row for row in rows}
    return {pk: found[place] for pk, place in ids.items() if place in found}


def _rpc_id(message: Inbound) -> int | None:
    payload = message.payload
    # An error: a wallet that could not read the message. It may read it yet.
    if not isinstance(payload, JsonRpcResult):
        return None
    rpc_id = acknowledged_id(payload.id)
    return rpc_id if isinstance(rpc_id, int) and 0 < rpc_id < 2**63 else None


def _claims(messages: Iterable[Inbound]) -> dict[int, ClaimedIdentity]:
    allowed = allowed_keys_servers()
    found = {}
    for message in messages:
        if not isinstance(message.payload, JsonRpcResult | JsonRpcError):
            continue
        try:
            did, keys_server = claimed_receipt(message.payload)
        except RemoteProtocolError:
            continue
        if keys_server in allowed:
            found[message.pk] = ClaimedIdentity(did, keys_server)
    return found


def _verify(
    message: Inbound,
    delivery: Delivery,
    dapps: Mapping[str, DappIdentity],
    *,
    claims: Mapping[int, ClaimedIdentity],
    known: Mapping[str, Cacao],
) -> None:
    dapp = dapps.get(delivery.subscriber.project_id)
    claim = claims.get(message.pk)
    if dapp is None or not isinstance(message.payload, JsonRpcResult):
        raise Refused(NOT_A_RECEIPT)
    cacao = known.get(claim.did) if claim is not None else None
    if cacao is None:
        raise Refused(UNKNOWN)
    read_receipt(
        message.payload,
        dapp,
        account=AccountId.parse(delivery.subscriber.account),
        identity=cacao,
        now=clock.now_s(),
    )


def _note(deliveries: Iterable[Delivery]) -> None:
    ids = [each.pk for each in deliveries]
    if ids:
        with connection.cursor() as cursor:
            cursor.execute(_RECEIVED, [ids, [clock.now()] * len(ids)])
