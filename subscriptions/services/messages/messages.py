"""Notifications that arrive: verified, stored once, answered with a receipt.

Spec: clients/notify/notify-message.md; ``walletconnect.notify.message``. A batch costs one
query for the subscriptions, one insert and one call of the outbox. A message is identified
by its subscription and JSON-RPC id, so it is stored once even if relay, mailbox and History
deliver it several times; and by its signed token, so that a holder of the key of
the topic cannot repeat it under another id.

A new field of a notification is added in three places: ``NotifyMessage`` in the core,
``NotifyMessageRecord``, and ``_columns`` here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import orjson
from django.db import connection

from accounts.services import EventDraft, EventKind, record_events
from common import clock, counters, entropy
from common.failpoints import failpoint
from common.wake import enqueue_on_commit
from messaging.dispatch import Declined, Inbound, NotHandled, Refused, TryLater
from subscriptions.models import (
    BlockedDapp,
    DappDocument,
    NotifyMessageRecord,
    Subscription,
)
from subscriptions.services.dapps import documents
from subscriptions.services.dapps.icons import WantedIcon, want_icons
from subscriptions.services.wallet import (
    message_event,
    publish,
    wallet_identities,
)
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
    from collections.abc import Iterable, Iterator, Sequence

    from walletconnect.crypto.keys import SymKey
    from walletconnect.relay.messages import Publication

LEARN_TASK: Final = "subscriptions.learn_dapps"
NO_SUBSCRIPTION: Final = "no subscription has this topic"
DAPP_UNKNOWN: Final = "the dapp's authentication key is not known yet"
DAPP_CHANGED: Final = "signed by another key than the dapp's pinned one"
# Well-formed envelopes with a bad payload get an error response, so that the sender does
# not repeat them. Nothing is sent for a bad signature, which anyone could provoke.
_ANSWERED: Final = frozenset({ErrorCode.MALFORMED, ErrorCode.TOO_LARGE})

# Of 29 columns of a subscription and its account.
_NEEDED: Final = (
    "topic",
    "dapp_url",
    "dapp_authentication_did",
    "metadata",
    "account__address",
)

_RAISE_IAT: Final = """
UPDATE subscriptions_subscription AS kept SET last_iat = new.iat
FROM unnest(%s::bigint[], %s::bigint[]) AS new (id, iat)
WHERE kept.id = new.id AND kept.last_iat < new.iat
"""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A verified notification, its subscription, and when it was published (ms)."""

    subscription: Subscription
    received: ReceivedMessage
    sym_key: SymKey
    published_at: int

    @property
    def place(self) -> tuple[int, int]:
        # Other ids were refused when the message was verified.
        return self.subscription.pk, int(self.received.request_id)


def receive_messages(messages: list[Inbound]) -> Declined:
    """Notifications from the relay; runs in the transaction of the dispatch."""
    declined: dict[int, NotHandled] = {}
    subscriptions = (
        Subscription.objects.active()
        .only(*_NEEDED)
        .on_topics(message.topic for message in messages)
    )
    arrived: list[Arrived] = []
    errors: list[Publication] = []
    unknown: set[str] = set()
    changed: set[str] = set()
    for message in messages:
        subscription = subscriptions.get(message.topic)
        try:
            if subscription is None:
                raise Refused(NO_SUBSCRIPTION)
            arrived.append(_verify(subscription, message))
        except TryLater as reason:
            declined[message.pk] = reason
            if subscription is not None:
                dapps = unknown if reason.reason == DAPP_UNKNOWN else changed
                dapps.add(subscription.dapp_url)
        except NotHandled as reason:
            declined[message.pk] = reason
        except RemoteProtocolError as error:
            declined[message.pk] = Refused(str(error))
            if error.code in _ANSWERED and isinstance(message.payload, JsonRpcRequest):
                errors.append(
                    publish_error(
                        methods.MESSAGE,
                        error,
                        request_id=message.payload.id,
                        sym_key=message.sym_key,
                        iv=entropy.iv(),
                    )
                )
    if unknown:
        enqueue_on_commit(LEARN_TASK)
    if changed:
        documents.mark_stale(changed)
    record_events(keep_messages(arrived, also_publish=errors))
    failpoint("message.before_commit")
    return declined


def _verify(subscription: Subscription, message: Inbound) -> Arrived:
    request = message.payload
    if not isinstance(request, JsonRpcRequest):
        raise Refused("not a request")
    if not subscription.dapp_authentication_did:
        raise TryLater(DAPP_UNKNOWN)
    if not is_storable_id(request.id):
        raise Refused("id must be a positive integer below 2^63")
    token = DidJwt.parse(token_of_request(request, methods.MESSAGE))
    signer = token.iss
    if (
        signer != subscription.dapp_authentication_did
        and signer not in documents.trusted_signers([subscription])[subscription.pk]
    ):
        # The dapp may have changed its keys. The inbox retries for a day, in which a
        # person may accept them.
        raise TryLater(DAPP_CHANGED)
    received = receive_message(
        request,
        AccountId.parse(subscription.account.address),
        token=token,
        app=subscription.dapp_url,
        dapp_did=signer,
        now=clock.now_s(),
    )
    return Arrived(subscription, received, message.sym_key, message.published_at)


def is_storable_id(rpc_id: object) -> bool:
    """Whether a JSON-RPC id fits the column: text and fractions are valid ids, too."""
    return isinstance(rpc_id, int) and 0 < rpc_id < 2**63


# --- storing ----------------------------------------------------------------------------


def keep_messages(
    arrived: Sequence[Arrived],
    *,
    also_publish: Iterable[Publication] = (),
    receipts: bool = True,
) -> list[EventDraft]:
    """Store what is new and publish receipts for it; returns the events to record.

    What a blocked dapp sends is dropped here, whichever way it came.
    """
    blocked = BlockedDapp.objects.pairs(
        each.subscription.account_id for each in arrived
    )
    arrived = [
        each
        for each in arrived
        if (each.subscription.account_id, each.subscription.dapp_url) not in blocked
    ]
    pks = _insert(arrived)
    new = {each.place: each for each in arrived if each.place in pks}
    if new:
        newest: dict[int, int] = {}
        types: dict[str, set[str]] = {}
        for each in new.values():
            row = each.subscription
            newest[row.pk] = max(newest.get(row.pk, 0), each.received.iat)
            types.setdefault(row.dapp_url, set()).add(each.received.message.type)
        with connection.cursor() as cursor:
            cursor.execute(_RAISE_IAT, [list(newest), list(newest.values())])
        known = DappDocument.objects.filter(url__in=types).values_list("url", "types")
        want_icons(_icons_of(new.values()))
        documents.mark_stale(
            {
                url
                for url, offered in known
                if types[url] - {each["name"] for each in offered}
            }
        )
    publications = list(also_publish)
    if receipts:
        wallets = wallet_identities(each.subscription.account for each in new.values())
        now = clock.now_s()
        publications += [
            make_receipt(
                each.received,
                wallets[each.subscription.account_id],
                sym_key=each.sym_key,
                iv=entropy.iv(),
                now=now,
            )
            for each in new.values()
            # An account without an identity key sends no receipts.
            if each.subscription.account_id in wallets
        ]
    publish(publications)
    return [
        message_event(EventKind.MESSAGE, each.subscription.account_id, pks[place])
        for place, each in new.items()
    ]


def _icons_of(arrived: Iterable[Arrived]) -> Iterator[WantedIcon]:
    """The icon of each message and of its dapp."""
    for each in arrived:
        row = each.subscription
        icons = [each.received.message.icon, *row.metadata.get("icons", [])[:1]]
        for url in filter(None, icons):
            yield WantedIcon(str(url), row.dapp_url, row.account_id)


def _columns(arrived: Arrived) -> dict[str, object]:
    """The columns of ``NotifyMessageRecord`` that a message fills."""
    note = arrived.received.message
    # A relay may claim any time; the future would keep a message on top of the inbox.
    published_ms = max(0, min(arrived.published_at, clock.now_ms()))
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
        "published_at": datetime.fromtimestamp(published_ms / 1000, UTC),
        "received_at": clock.now(),
    }


def _insert(arrived: Sequence[Arrived]) -> dict[tuple[int, int], int]:
    """Insert in this order; returns the primary keys of the rows that are new."""
    if not arrived:
        return {}
    first: dict[tuple[int, int], Arrived] = {}
    for each in arrived:
        first.setdefault(each.place, each)
    rows = [_columns(each) for each in first.values()]
    fields = {field.column: field for field in NotifyMessageRecord._meta.fields}
    names = ", ".join(rows[0])
    types = ", ".join(f"{name} {fields[name].db_type(connection)}" for name in rows[0])
    # ``bulk_create`` does not return which rows were new when conflicts are ignored. One
    # JSON parameter is far cheaper to quote than an array for each column.
    statement = f"""
        INSERT INTO {NotifyMessageRecord._meta.db_table} ({names})
        SELECT {names} FROM ROWS FROM (json_to_recordset(%s) AS ({types}))
            WITH ORDINALITY AS new ({names}, place)
        ORDER BY place
        ON CONFLICT DO NOTHING
        RETURNING id, subscription_id, rpc_id
    """  # noqa: S608  # names of columns
    with connection.cursor() as cursor:
        cursor.execute(statement, [orjson.dumps(rows).decode()])
        new = {(owner, rpc_id): pk for pk, owner, rpc_id in cursor.fetchall()}
    counters.count("notifications", {"received": len(new)})
    return new
