"""Receipts: a device of the account received the notification.

Every device of an account sends one for every message, and again after a replay from the
History Server. They are matched by JSON-RPC id; the first valid one counts, and later ones
are dropped before their signature is verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from castserver.models import Delivery
from castserver.services.projects.identities import (
    allowed_keys_servers,
    dapp_identities,
)
from castserver.services.subscribers.requests import look_up_claims
from common import clock, histograms
from identity.services import known_identities
from messaging.dispatch import Refused
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId
from walletconnect.notify.message import claimed_receipt, read_receipt
from walletconnect.notify.parties import ClaimedIdentity
from walletconnect.relay.rpc import JsonRpcResult, acknowledged_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from messaging.dispatch import Inbound, NotHandled

NOT_A_RECEIPT: Final = "not a receipt"
UNKNOWN: Final = "the key server does not know the identity key"


def look_up(messages: Sequence[Inbound]) -> dict[int, NotHandled]:
    """Fetch the identities of receipts that still count, before the transaction."""
    deliveries = awaited(messages)
    return look_up_claims(_claims(each for each in messages if each.pk in deliveries))


def store_receipts(messages: Sequence[Inbound]) -> dict[int, NotHandled]:
    """Verify the receipts and store their time, in the caller's transaction."""
    deliveries = awaited(messages)
    counted = [each for each in messages if each.pk in deliveries]
    if not counted:
        return {}
    dapps = dapp_identities({each.subscriber.project for each in deliveries.values()})
    claims = _claims(counted)
    known = known_identities({claim.did for claim in claims.values()})
    received: set[int] = set()
    declined: dict[int, NotHandled] = {}
    for message in counted:
        delivery = deliveries[message.pk]
        dapp = dapps.get(delivery.subscriber.project_id)
        claim = claims.get(message.pk)
        cacao = known.get(claim.did) if claim is not None else None
        if dapp is None or not isinstance(message.payload, JsonRpcResult):
            declined[message.pk] = Refused(NOT_A_RECEIPT)
        elif cacao is None:
            declined[message.pk] = Refused(UNKNOWN)
        else:
            try:
                read_receipt(
                    message.payload,
                    dapp,
                    account=AccountId.parse(delivery.subscriber.account),
                    identity=cacao,
                    now=clock.now_s(),
                )
            except RemoteProtocolError as error:
                declined[message.pk] = Refused(str(error)[:200])
            else:
                received.add(message.pk)
    # One delivery may have receipts of several devices in one batch.
    first = {deliveries[pk].pk: deliveries[pk] for pk in received}
    now = clock.now()
    Delivery.objects.filter(pk__in=list(first), receipt_at=None).update(receipt_at=now)
    durations = [
        (now - (each.sent_at or each.created_at)).total_seconds()
        for each in first.values()
    ]
    histograms.observe("notification", {"received": durations})
    return declined


def awaited(messages: Iterable[Inbound]) -> dict[int, Delivery]:
    """The deliveries without a receipt that the messages acknowledge, by message."""
    ids: dict[int, tuple[str, int]] = {}
    for message in messages:
        # An error means that the wallet could not read the message; it may succeed yet.
        if isinstance(message.payload, JsonRpcResult):
            rpc_id = acknowledged_id(message.payload.id)
            if isinstance(rpc_id, int) and 0 < rpc_id < 2**63:
                ids[message.pk] = (message.topic, rpc_id)
    rows = Delivery.objects.select_related("subscriber__project").filter(
        subscriber__topic__in={topic for topic, _ in ids.values()},
        rpc_id__in={rpc_id for _, rpc_id in ids.values()},
        receipt_at=None,
    )
    found = {(row.subscriber.topic, row.rpc_id): row for row in rows}
    return {pk: found[pair] for pk, pair in ids.items() if pair in found}


def _claims(messages: Iterable[Inbound]) -> dict[int, ClaimedIdentity]:
    allowed = allowed_keys_servers()
    found = {}
    for message in messages:
        if not isinstance(message.payload, JsonRpcResult):
            continue
        try:
            did, keys_server = claimed_receipt(message.payload)
        except RemoteProtocolError:
            continue
        if keys_server in allowed:
            found[message.pk] = ClaimedIdentity(did, keys_server)
    return found
