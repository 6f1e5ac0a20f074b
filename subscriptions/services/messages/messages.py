"""Notifications that arrive: verified, kept once, answered with a receipt.

Spec: clients/notify/notify-message.md; protocol.md, sections 5.3, 5.6 and 5.7;
``walletconnect.notify.message``. A batch is one query for the subscriptions, one insert,
one call of the outbox. A message is known by its subscription and JSON-RPC id, so that
it is kept once however often the relay, its mailbox or History brings it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import orjson
from django.db import connection

from accounts.services import EventDraft, EventKind, record_events
from common import clock, entropy
from common.failpoints import failpoint
from common.wake import enqueue_on_commit
from messaging.dispatch import Declined, Inbound, NotHandled, Refused, TryLater
from subscriptions.models import DappDocument, Subscription
from subscriptions.services.dapps import documents
from subscriptions.services.wallet import message_event, publish, wallet_identities
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.did import AccountId
from walletconnect.identity.jwt import DidJwt
from walletconnect.notify import methods
from walletconnect.notify.answers import publish_error, token_of_request
from walletconnect.notify.message import (
    ReceivedMessage,
    make_receipt,
    receive_message,
)
from walletconnect.relay.rpc import JsonRpcRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from walletconnect.crypto.keys import SymKey
    from walletconnect.relay.messages import Publication

LEARN_TASK: Final = "subscriptions.learn_dapps"
NO_SUBSCRIPTION: Final = "no subscription has this topic"
DAPP_UNKNOWN: Final = "the dapp's authentication key is not known yet"
DAPP_CHANGED: Final = "signed by another key than the dapp's pinned one"
# What a peer of the account or the dapp's server sent wrongly, though in good form:
# it is told, so that it need not send it again.
_ANSWERED: Final = frozenset({ErrorCode.MALFORMED, ErrorCode.TOO_LARGE})

_INSERT: Final = """
INSERT INTO subscriptions_notifymessagerecord
    (subscription_id, rpc_id, notification_id, type, title, body, icon, url,
     message_auth, published_at, received_at)
SELECT subscription_id, rpc_id, notification_id, type, title, body, icon, url,
       message_auth, published_at, %s
FROM ROWS FROM (json_to_recordset(%s) AS (
    subscription_id bigint, rpc_id bigint, notification_id text, type text, title text,
    body text, icon text, url text, message_auth text, published_at timestamptz
)) WITH ORDINALITY AS new (
    subscription_id, rpc_id, notification_id, type, title,
    body, icon, url, message_auth, published_at, place
)
ORDER BY place
ON CONFLICT (subscription_id, rpc_id) DO NOTHING
RETURNING id, subscription_id, rpc_id
"""

_RAISE_IAT: Final = """
UPDATE subscriptions_subscription AS kept SET last_iat = new.iat
FROM unnest(%s::bigint[], %s::bigint[]) AS new (id, iat)
WHERE kept.id = new.id AND kept.last_iat < new.iat
"""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A verified notification, whose it is, and when the relay got it (milliseconds)."""

    subscription: Subscription
    received: ReceivedMessage
    sym_key: SymKey
    published_at: int

    @property
    def place(self) -> tuple[int, int]:
        # ``_rpc_id`` let no other ids through.
        return self.subscription.pk, int(self.received.request_id)


def receive_messages(messages: list[Inbound]) -> Declined:
    """Notifications from the relay; runs in the transaction of the dispatch."""
    declined: dict[int, NotHandled] = {}
    subscriptions = Subscription.objects.active().on_topics(
        message.topic for message in messages
    )
    arrived: list[Arrived] = []
    errors: list[Publication] = []
    for message in messages:
        try:
            arrived.append(_verified(subscriptions.get(message.topic), message))
        except NotHandled as reason:
            declined[message.pk] = reason
        except RemoteProtocolError as error:
            declined[message.pk] = Refused(str(error))
            errors += _told(message, error)
    _log_missing(declined, messages, subscriptions)
    events = keep_messages(arrived, also_publish=errors)
    record_events(events)
    failpoint("message.before_commit")
    return declined


def _verified(subscription: Subscription | None, message: Inbound) -> Arrived:
    if subscription is None:
        raise Refused(NO_SUBSCRIPTION)
    if not isinstance(message.payload, JsonRpcRequest):
        raise Refused("not a request")
    if not subscription.dapp_authentication_did:
        raise TryLater(DAPP_UNKNOWN)
    _require_id(message.payload)
    if _signer(message.payload) != subscription.dapp_authentication_did:
        # The dapp may have new keys; then a person's word is awaited, for a day.
        raise TryLater(DAPP_CHANGED)
    received = receive_message(
        message.payload,
        AccountId.parse(subscription.account.address),
        app=subscription.dapp_url,
        dapp_did=subscription.dapp_authentication_did,
        now=clock.now_s(),
    )
    return Arrived(subscription, received, message.sym_key, message.published_at)


def _require_id(request: JsonRpcRequest) -> None:
    if not isinstance(request.id, int) or not 0 < request.id < 2**63:
        raise Refused("the id is no number")


def _signer(request: JsonRpcRequest) -> str:
    return DidJwt.parse(token_of_request(request, methods.MESSAGE)).iss


def _told(message: Inbound, error: RemoteProtocolError) -> list[Publication]:
    if error.code not in _ANSWERED or not isinstance(message.payload, JsonRpcRequest):
        return []
    return [
        publish_error(
            methods.MESSAGE,
            error,
            request_id=message.payload.id,
            sym_key=message.sym_key,
            iv=entropy.iv(),
        )
    ]


def _log_missing(
    declined: dict[int, NotHandled],
    messages: Sequence[Inbound],
    subscriptions: dict[str, Subscription],
) -> None:
    """Have documents read that messages wait for."""
    waiting = {
        reason.reason: {
            subscriptions[message.topic].dapp_url
            for message in messages
            if message.pk in declined and declined[message.pk].reason == reason.reason
        }
        for reason in declined.values()
        if isinstance(reason, TryLater)
    }
    if waiting.get(DAPP_UNKNOWN):
        enqueue_on_commit(LEARN_TASK)
    if doubted := waiting.get(DAPP_CHANGED):
        documents.doubt(doubted)


# --- keeping ----------------------------------------------------------------------------


def keep_messages(
    arrived: Sequence[Arrived],
    *,
    also_publish: Iterable[Publication] = (),
    receipts: bool = True,
) -> list[EventDraft]:
    """Keep what is new and answer it; the events to record."""
    fresh = _insert(arrived)
    new = {each.place: each for each in arrived if each.place in fresh}
    if new:
        _raise_iat(new.values())
        documents.doubt(_with_unknown_types(new.values()))
    publications = list(also_publish)
    if receipts:
        publications += _receipts(list(new.values()))
    publish(publications)
    return [
        message_event(EventKind.MESSAGE, each.subscription.account_id, fresh[place])
        for place, each in new.items()
    ]


def _with_unknown_types(arrived: Collection[Arrived]) -> set[str]:
    """The dapps that sent a type which their documents, as they were read, lack."""
    sent: dict[str, set[str]] = {}
    for each in arrived:
        url = each.subscription.dapp_url
        sent.setdefault(url, set()).add(each.received.message.type)
    rows = DappDocument.objects.filter(url__in=sent).values_list("url", "types")
    return {url for url, types in rows if sent[url] - {each["name"] for each in types}}


def _insert(arrived: Sequence[Arrived]) -> dict[tuple[int, int], int]:
    """The primary keys of the rows that are new."""
    if not arrived:
        return {}
    first: dict[tuple[int, int], Arrived] = {}
    for each in arrived:
        first.setdefault(each.place, each)
    # One parameter for all rows: far cheaper to quote than an array for each column.
    rows = orjson.dumps([_row(each) for each in first.values()]).decode()
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [clock.now(), rows])
        return {(owner, rpc_id): pk for pk, owner, rpc_id in cursor.fetchall()}


def _row(arrived: Arrived) -> dict[str, object]:
    note = arrived.received.message
    return {
        "subscription_id": arrived.place[0],
        "rpc_id": arrived.place[1],
        "notification_id": note.id or "",
        "type": note.type,
        "title": note.title,
        "body": note.body,
        "icon": note.icon,
        "url": note.url,
        "message_auth": arrived.received.token,
        "published_at": _moment(arrived.published_at),
    }


def _moment(milliseconds: int) -> datetime:
    """A time that a relay claims; it is never later than now."""
    bounded = max(0, min(milliseconds, clock.now_ms()))
    return datetime.fromtimestamp(bounded / 1000, UTC)


def _raise_iat(arrived: Iterable[Arrived]) -> None:
    newest: dict[int, int] = {}
    for each in arrived:
        pk = each.subscription.pk
        newest[pk] = max(newest.get(pk, 0), each.received.iat)
    with connection.cursor() as cursor:
        cursor.execute(_RAISE_IAT, [list(newest), list(newest.values())])


def _receipts(arrived: Sequence[Arrived]) -> list[Publication]:
    """One receipt each, signed by an identity key of the account, if there is one."""
    wallets = wallet_identities(each.subscription.account for each in arrived)
    now = clock.now_s()
    return [
        make_receipt(
            each.received,
            wallets[each.subscription.account_id],
            sym_key=each.sym_key,
            iv=entropy.iv(),
            now=now,
        )
        for each in arrived
        if each.subscription.account_id in wallets
    ]
