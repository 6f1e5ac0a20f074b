"""Ending a subscription: by a person here, by another wallet, by the dapp, by expiry.

Spec: clients/notify/notify-delete.md; ``walletconnect.notify.delete``. All wallets of the
account and the server share the notify topic, so a ``wc_notifyDelete`` on it may come from
another wallet or from the server. Either ends the subscription here too, but only if it is
signed by the dapp or by an identity key of the account.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction

from accounts.services import EventDraft, EventKind, audit, record_events
from common import clock, entropy
from common.failpoints import failpoint
from common.work_queue import in_batches
from identity import services as identity
from identity.services import KeysServerUnavailable
from keychain.services import Holder, forget
from messaging import outbox
from messaging.dispatch import Declined, Inbound, NotHandled, Refused, TryLater
from messaging.models import Party
from subscriptions.models import REASON_LENGTH, Subscription, SubscriptionJob
from subscriptions.services.dapps.documents import trusted_signers
from subscriptions.services.wallet import (
    notify_keys,
    publish,
    require_own,
    subscription_event,
    wallet_identity,
)
from syncstore.services import lock_stores, store_delete
from walletconnect.crypto.keys import Topic
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId
from walletconnect.identity.jwt import DidJwt
from walletconnect.notify import methods
from walletconnect.notify.answers import publish_result, token_of_request
from walletconnect.notify.claims import DeleteAuth
from walletconnect.notify.delete import request_delete
from walletconnect.notify.parties import claimed_identity, require_app
from walletconnect.relay.rpc import JsonRpcRequest
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accounts.models import Account, Device
    from walletconnect.relay.messages import Publication

EXPIRE_BATCH_SIZE: Final = 500
BY_PERSON: Final = "unsubscribed here"
BY_WALLET: Final = "unsubscribed by another wallet"
BY_DAPP: Final = "ended by the dapp"
BY_TIME: Final = "expired"
NO_SUBSCRIPTION: Final = "no subscription has this topic"


@transaction.atomic
def delete_subscription(subscription: Subscription, device: Device) -> bool:
    """Unsubscribe; False if the subscription had ended already.

    In the same transaction the dapp is notified through the outbox and the other devices
    through the store. Raises ``NotYours`` or ``identity.services.NoIdentityKey``.
    """
    lock_stores(account_id=subscription.account_id, name=NOTIFY_SUBSCRIPTION_STORE)
    row = Subscription.objects.locked().get(pk=subscription.pk)
    require_own(row.account, device)
    if row.deleted_at is not None:
        return False
    publish(_delete_messages([row], device))
    events = end_subscriptions([row], reason=BY_PERSON)
    events += store_delete(
        row.account_id,
        NOTIFY_SUBSCRIPTION_STORE,
        [row.topic],
        device=device,
        notes={row.topic: f"{row}: unsubscribed"},
    )
    audit(
        "subscription.deleted", device=device, account=row.account, subject=row.dapp_url
    )
    failpoint("delete.before_commit")
    record_events(events)
    return True


def _delete_messages(
    rows: Sequence[Subscription], device: Device | None
) -> list[Publication]:
    """Delete requests to the dapps of those rows whose keys are known."""
    keys = notify_keys(rows)
    return [
        request_delete(
            row.with_key(keys[Topic(row.topic)]),
            wallet_identity(row.account, device),
            dapp_did=row.dapp_authentication_did,
            request_id=clock.payload_id(),
            # The store assigns its own id when the entry is deleted there.
            update_id=1,
            iv=entropy.iv(),
            now=clock.now_s(),
            dialect=row.dialect,
        ).publish
        for row in rows
        if Topic(row.topic) in keys and row.dapp_authentication_did
    ]


def end_subscriptions(rows: Sequence[Subscription], *, reason: str) -> list[EventDraft]:
    """Unsubscribe from the topics, delete key P, keep the rows with their messages.

    In the caller's transaction, which holds the rows' locks. Returns the events to record.
    """
    if not rows:
        return []
    now = clock.now()
    for row in rows:
        row.deleted_at = now
        row.delete_reason = reason[:REASON_LENGTH]
        row.pending_update = None
    Subscription.objects.bulk_update(
        rows, ["deleted_at", "delete_reason", "pending_update"]
    )
    SubscriptionJob.objects.cancel(rows)
    topics = [row.topic for row in rows]
    outbox.unsubscribe(Party.WALLET, topics)
    forget(Holder.WALLET, topics)
    return [subscription_event(EventKind.DELETE, row) for row in rows]


# --- wc_notifyDelete from the topic -------------------------------------------------------


def resolve_signers(messages: list[Inbound]) -> Declined:
    """Look up the signers at their Keys Servers, outside any transaction.

    A message that the dapp's own key signed needs no look-up.
    """
    declined: dict[int, NotHandled] = {}
    wanted: dict[int, tuple[str, str]] = {}
    active = Subscription.objects.active().filter(
        topic__in={message.topic for message in messages}
    )
    dapp_dids = {did for dids in trusted_signers(active).values() for did in dids}
    for message in messages:
        try:
            request = _request(message)
            jwt = DidJwt.parse(token_of_request(request, methods.DELETE))
            if jwt.iss not in dapp_dids:
                claimed = claimed_identity(
                    request, methods.DELETE, allowed=settings.ALLOWED_KEYS_SERVERS
                )
                wanted[message.pk] = claimed.did, claimed.keys_server_url
        except (RemoteProtocolError, NotHandled) as error:
            declined[message.pk] = Refused(str(error))
    try:
        identity.resolve_identity(list(set(wanted.values())))
    except KeysServerUnavailable as error:
        late = {pk for pk, (did, _) in wanted.items() if did in error.unresolved}
        declined |= dict.fromkeys(
            late, TryLater("the Keys Server has not answered yet")
        )
    return declined


def _request(message: Inbound) -> JsonRpcRequest:
    if not isinstance(message.payload, JsonRpcRequest):
        raise Refused("not a request")
    return message.payload


def receive_deletes(messages: list[Inbound]) -> Declined:
    """Deletes by other wallets or the dapp; runs in the transaction of the dispatch."""
    declined: dict[int, NotHandled] = {}
    events: list[EventDraft] = []
    active = Subscription.objects.active().filter(
        topic__in={message.topic for message in messages}
    )
    accounts = set(active.values_list("account_id", flat=True))
    lock_stores(account_id__in=accounts, name=NOTIFY_SUBSCRIPTION_STORE)
    rows = list(active.locked())
    for message in messages:
        row = next((each for each in rows if each.topic == message.topic), None)
        if row is None or row.deleted_at is not None:
            declined[message.pk] = Refused(NO_SUBSCRIPTION)
            continue
        try:
            reason = _verify(row, message)
        except (RemoteProtocolError, NotHandled) as error:
            declined[message.pk] = Refused(str(error))
            continue
        if reason == BY_DAPP:
            # Only the wallets answer the dapp's request; another wallet's request is
            # answered by the server.
            answer = publish_result(
                methods.DELETE,
                {methods.DELETE.result: ""},
                request_id=_request(message).id,
                sym_key=message.sym_key,
                iv=entropy.iv(),
            )
            publish([answer])
        events += end_subscriptions([row], reason=reason)
        audit(
            "subscription.deleted",
            account=row.account,
            subject=row.dapp_url,
            detail=reason,
        )
        events += store_delete(
            row.account_id,
            NOTIFY_SUBSCRIPTION_STORE,
            [row.topic],
            notes={row.topic: f"{row}: {reason}"},
        )
    record_events(events)
    return declined


def _verify(row: Subscription, message: Inbound) -> str:
    """Why the subscription ends; raises ``RemoteProtocolError`` if the signer may not."""
    token = token_of_request(_request(message), methods.DELETE)
    auth = DeleteAuth.read(token, now=clock.now_s())
    require_app(auth.app, row.dapp_url)
    if auth.iss in trusted_signers([row])[row.pk]:
        return BY_DAPP
    vouching = identity.known_identity(auth.iss)
    if vouching is None:
        raise Refused("the signer is not known")
    vouching.verify_signer(
        auth.iss, AccountId.parse(row.account.address), now=clock.now_s()
    )
    return BY_WALLET


# --- expiry, and removal of the account ---------------------------------------------------


@in_batches
@transaction.atomic
def expire_subscriptions() -> int:
    """End subscriptions that have expired; returns how many.

    The shared store is not changed: another wallet may have renewed the subscription in
    an update that has not arrived yet, and our delete would then override it.
    """
    rows = list(
        Subscription.objects.active()
        .locked(skip=True)
        .filter(expiry__lte=clock.now_s())
        .order_by("expiry")[:EXPIRE_BATCH_SIZE]
    )
    record_events(end_subscriptions(rows, reason=BY_TIME))
    return len(rows)


def unsubscribe_before_removal(account: Account, **_: object) -> None:
    """Before an account is removed here: notify its dapps, unsubscribe from its topics.

    Only subscriptions made here are deleted at their dapps. Those that came through Sync
    belong to other wallets as well and continue there; for the same reason the store is
    not changed.
    """
    rows = list(Subscription.objects.active().locked().filter(account=account))
    made_here = [row for row in rows if row.added_by == Subscription.AddedBy.SUBSCRIBE]
    try:
        publish(_delete_messages(made_here, None))
    except identity.NoIdentityKey:
        # No key is left to sign with; at the dapps the subscriptions expire.
        pass
    attempts = account.subscribe_attempts.exclude(response_topic="")
    topics = [row.topic for row in rows]
    topics += attempts.values_list("response_topic", flat=True)
    topics += account.stores.values_list("topic", flat=True)
    watches = account.watches.exclude(response_topic="")
    topics += watches.values_list("response_topic", flat=True)
    outbox.unsubscribe(Party.WALLET, topics)
