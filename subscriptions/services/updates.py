"""Changing the types of a subscription, and keeping it alive.

Spec: clients/notify/notify-update.md; ``walletconnect.notify.update``. A requested change
stays pending on the row until the dapp answers; then the new scope and expiry apply and
go to the other devices through the store. All devices receive the answer on the shared
topic; those that did not send the request ignore it. A renewal is an update that changes
only the expiry.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from django.db import transaction

from accounts.models import Device
from accounts.services import EventDraft, EventKind, record_events
from common import clock, entropy
from common.failpoints import failpoint
from common.work_queue import in_batches
from messaging.dispatch import Declined, Inbound, NotHandled, Refused
from subscriptions.models import (
    MIRRORED_FIELDS,
    REASON_LENGTH,
    BlockedDapp,
    DappDocument,
    Subscription,
)
from subscriptions.services.errors import (
    DappBlocked,
    NotReady,
    TypesChanged,
    UnknownTypes,
)
from subscriptions.services.wallet import (
    describe,
    notify_keys,
    publish,
    require_few_types,
    require_own,
    store_entries,
    subscription_event,
    wallet_identities,
    wallet_identity,
)
from syncstore.services import lock_stores, store_set
from walletconnect.crypto.keys import Topic
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.notify import methods
from walletconnect.notify.scope import ScopeMap, ScopeSetting
from walletconnect.notify.update import request_update, settle_update
from walletconnect.relay.rpc import JsonRpcRequest
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

if TYPE_CHECKING:
    from collections.abc import Collection

    from walletconnect.notify.parties import WalletIdentity
    from walletconnect.notify.values import NotifySubscription
    from walletconnect.relay.messages import Publication

# A subscription lives for 30 days. A week leaves room for several attempts and for a
# dapp or a relay that is down for days.
RENEW_BEFORE_S: Final = 7 * 24 * 60 * 60
RENEW_BATCH_SIZE: Final = 200
EXPIRE_BATCH_SIZE: Final = 500
NO_ANSWER: Final = "The dapp did not answer the change in time."
NOT_WAITING: Final = "no update waits for this answer"
KEY_MISSING: Final = "The key of this subscription is no longer in the keychain."
DAPP_UNKNOWN: Final = "The dapp's own key is not known yet. Try again in a minute."


@transaction.atomic
def update(
    subscription: Subscription,
    enabled_types: Collection[str],
    device: Device,
    *,
    seen: Collection[str] | None = None,
) -> Subscription:
    """Ask the dapp for exactly these types; none at all is allowed.

    ``seen`` are the types that were on when the form was opened. If others are on now,
    ``TypesChanged`` is raised, so that no device silently reverts what another one did.
    A second request replaces the first, whose answer is then ignored. Raises
    ``SubscriptionRefused`` or ``identity.services.NoIdentityKey``.
    """
    row = Subscription.objects.locked().get(pk=subscription.pk)
    require_own(row.account, device)
    if row.deleted_at is not None:
        raise NotReady("The account is no longer subscribed to this dapp.")
    if BlockedDapp.objects.covers(row.account_id, row.dapp_url):
        raise DappBlocked
    if seen is not None and set(seen) != row.effective_types:
        raise TypesChanged
    sym_key = notify_keys([row]).get(Topic(row.topic))
    if sym_key is None:
        raise NotReady(KEY_MISSING)
    if not row.dapp_authentication_did:
        raise NotReady(DAPP_UNKNOWN)
    value = row.with_key(sym_key)
    document = DappDocument.objects.filter(url=row.dapp_url).first()
    if document is not None:
        # Types that the dapp has added since the last update can be switched on, too.
        added = [
            ScopeSetting(each.scope_name, each.description, enabled=False)
            for each in document.notification_types
            if value.scope.get(each.scope_name) is None
        ]
        value = replace(value, scope=ScopeMap((*value.scope.settings, *added)))
    unknown = set(enabled_types) - set(value.scope.names)
    if unknown:
        raise UnknownTypes(unknown)
    require_few_types(enabled_types, already=value.scope.enabled)
    wallet = wallet_identity(row.account, device)
    publish([_request(row, value, wallet, enabled=enabled_types, device=device)])
    row.note_change(device, clock.now())
    row.save(
        update_fields=["pending_update", "update_reason", "changed_by", "changed_at"]
    )
    failpoint("update.before_commit")
    record_events([subscription_event(EventKind.UPDATE, row)])
    return row


def _request(
    row: Subscription,
    value: NotifySubscription,
    wallet: WalletIdentity,
    *,
    enabled: Collection[str],
    device: Device | None,
) -> Publication:
    now = clock.now_s()
    request = request_update(
        value,
        wallet,
        enabled=enabled,
        dapp_did=row.dapp_authentication_did,
        request_id=clock.payload_id(),
        iv=entropy.iv(),
        now=now,
        dialect=row.dialect,
    )
    row.expect(request.pending, expires_at=now + methods.UPDATE.ttl, device=device)
    row.update_reason = ""
    return request.publish


# --- the dapp's answer ------------------------------------------------------------------


def settle_updates(messages: list[Inbound]) -> Declined:
    """Answers to updates; runs in the transaction of the dispatch."""
    declined: dict[int, NotHandled] = {}
    events: list[EventDraft] = []
    waiting = Subscription.objects.active().filter(
        topic__in={message.topic for message in messages}, pending_update__isnull=False
    )
    # The stores are locked before the subscriptions: syncstore's lock order.
    accounts = set(waiting.values_list("account_id", flat=True))
    lock_stores(account_id__in=accounts, name=NOTIFY_SUBSCRIPTION_STORE)
    rows = list(waiting.locked())
    for message in messages:
        try:
            events += _settle([r for r in rows if r.topic == message.topic], message)
        except NotHandled as reason:
            declined[message.pk] = reason
        except RemoteProtocolError as error:
            # Every wallet on the topic can write this, so the update stays pending: the
            # dapp's own answer may follow.
            declined[message.pk] = Refused(str(error))
    record_events(events)
    return declined


def _settle(rows: list[Subscription], message: Inbound) -> list[EventDraft]:
    """Apply an answer to the one of its topic's subscriptions that waits for it."""
    answer = message.payload
    for row in rows:
        pending = row.expected_update
        if (
            pending is not None
            and not isinstance(answer, JsonRpcRequest)
            and pending.request_id == answer.id
        ):
            break
    else:
        raise Refused(NOT_WAITING)
    before = row.with_key(message.sym_key)
    try:
        after = settle_update(pending, answer, before, now=clock.now_s())
    except RemoteProtocolError as error:
        if error.code is not ErrorCode.REFUSED:
            raise
        row.pending_update = None
        row.update_reason = f"The dapp did not accept it: {error.message}"[
            :REASON_LENGTH
        ]
        row.save(update_fields=["pending_update", "update_reason"])
        return [subscription_event(EventKind.UPDATE, row)]
    asked_by = row.pending_update.get("device") if row.pending_update else None
    row.mirror(after)
    row.pending_update, row.update_reason = None, ""
    row.save(update_fields=[*MIRRORED_FIELDS, "pending_update", "update_reason"])
    failpoint("update.settle.before_commit")
    events = store_set(
        row.account_id,
        NOTIFY_SUBSCRIPTION_STORE,
        store_entries([after]),
        device=Device.objects.filter(pk=asked_by).first() if asked_by else None,
        notes={after.topic: describe(after)},
    )
    return [*events, subscription_event(EventKind.UPDATE, row)]


# --- sweeps -----------------------------------------------------------------------------


def renew_subscriptions() -> int:
    """Ask for the same types again before a subscription ends; returns how many were asked.

    Visits every due row once, in pages: rows that cannot be renewed stay due, and must
    not fill the page that a sweep looks at.
    """
    count, last = 0, 0
    while True:
        asked, last = _renew_page(after=last)
        count += asked
        if not last:
            return count


@transaction.atomic
def _renew_page(*, after: int) -> tuple[int, int]:
    """How many were asked, and the last row of the page; 0 if there was none."""
    now = clock.now_s()
    rows = list(
        Subscription.objects.active()
        .locked(skip=True)
        .filter(
            pk__gt=after,
            expiry__gt=now,
            expiry__lte=now + RENEW_BEFORE_S,
            pending_update__isnull=True,
        )
        .exclude(dapp_authentication_did="")[:RENEW_BATCH_SIZE]
    )
    if not rows:
        return 0, 0
    keys = notify_keys(rows)
    wallets = wallet_identities(row.account for row in rows)
    asked: list[Subscription] = []
    requests: list[Publication] = []
    for row in rows:
        sym_key = keys.get(Topic(row.topic))
        wallet = wallets.get(row.account_id)
        if sym_key is None or wallet is None:
            # It expires unless the account signs in again: without its key P or an
            # identity key no request can be made.
            continue
        value = row.with_key(sym_key)
        enabled = value.scope.enabled
        requests.append(_request(row, value, wallet, enabled=enabled, device=None))
        asked.append(row)
    publish(requests)
    Subscription.objects.bulk_update(asked, ["pending_update", "update_reason"])
    return len(asked), rows[-1].pk


@in_batches
@transaction.atomic
def expire_updates() -> int:
    """Drop updates that were not answered in time; the old types stay in effect."""
    rows = list(
        Subscription.objects.select_for_update(skip_locked=True)
        .filter(pending_update__expiresAt__lte=clock.now_s())
        .order_by("pk")[:EXPIRE_BATCH_SIZE]
    )
    for row in rows:
        row.pending_update = None
        row.update_reason = NO_ANSWER
    Subscription.objects.bulk_update(rows, ["pending_update", "update_reason"])
    record_events([subscription_event(EventKind.UPDATE, row) for row in rows])
    return len(rows)
