"""Receipts: a device of the account received the notification.

Every device of an account sends one for every message, and again after a replay from the
History Server. They are matched by JSON-RPC id; the first valid one counts, and later ones
are dropped before their signature is verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from django.db import connection

from castserver.models import Project
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
    from datetime import datetime
    from uuid import UUID

    from messaging.dispatch import Inbound, NotHandled

NOT_A_RECEIPT: Final = "not a receipt"
UNKNOWN: Final = "the key server does not know the identity key"


_AWAITED: Final = """
SELECT subscriber.topic, delivery.rpc_id, delivery.id, subscriber.account,
    subscriber.project_id, coalesce(delivery.sent_at, delivery.created_at)
FROM unnest(%(topics)s::text[], %(rpc_ids)s::bigint[]) AS given (topic, rpc_id)
JOIN castserver_subscriber AS subscriber ON subscriber.topic = given.topic
JOIN castserver_delivery AS delivery
    ON delivery.subscriber_id = subscriber.id AND delivery.rpc_id = given.rpc_id
WHERE delivery.receipt_at IS NULL
"""
_RECEIVED: Final = """
UPDATE castserver_delivery SET receipt_at = %s
WHERE id = ANY(%s::uuid[]) AND receipt_at IS NULL
"""


class Awaited(NamedTuple):
    """The columns of a delivery without a receipt, and of its subscriber, that one needs."""

    pk: UUID
    account: str
    project_id: str
    since: datetime


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
    dapps = dapp_identities(
        Project.objects.filter(pk__in={each.project_id for each in deliveries.values()})
    )
    claims = _claims(counted)
    known = known_identities({claim.did for claim in claims.values()})
    received: set[int] = set()
    declined: dict[int, NotHandled] = {}
    for message in counted:
        delivery = deliveries[message.pk]
        dapp = dapps.get(delivery.project_id)
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
                    account=AccountId.parse(delivery.account),
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
    with connection.cursor() as cursor:
        cursor.execute(_RECEIVED, [now, list(first)])
    durations = [(now - each.since).total_seconds() for each in first.values()]
    histograms.observe("notification", {"received": durations})
    return declined


def awaited(messages: Iterable[Inbound]) -> dict[int, Awaited]:
    """The deliveries without a receipt that the messages acknowledge, by message."""
    ids: dict[int, tuple[str, int]] = {}
    for message in messages:
        # An error means that the wallet could not read the message; it may succeed yet.
        if isinstance(message.payload, JsonRpcResult):
            rpc_id = acknowledged_id(message.payload.id)
            if isinstance(rpc_id, int) and 0 < rpc_id < 2**63:
                ids[message.pk] = (message.topic, rpc_id)
    if not ids:
        return {}
    topics, rpc_ids = zip(*ids.values(), strict=True)
    # Not by the ORM, whose rows of three tables cost as much as checking the receipts.
    with connection.cursor() as cursor:
        cursor.execute(_AWAITED, {"topics": list(topics), "rpc_ids": list(rpc_ids)})
        found = {
            (topic, rpc_id): Awaited(*rest)
            for topic, rpc_id, *rest in cursor.fetchall()
        }
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
