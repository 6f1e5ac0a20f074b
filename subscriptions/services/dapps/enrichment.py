"""Completing listed subscriptions: the dapp's metadata, and the entry in the shared store.

A Cast Server's list contains domain, key, types and expiry. Name, icon and descriptions are
in the dapp's documents, which are read outside any transaction. Where the account syncs, its
v0 wallets learn of the subscription only from the shared store: if no wallet has written the
entry by now, or it differs from the server's list, it is written here, once. The list is
applied to rows, never directly to the store, and nothing from the store is sent to the
server, so no update circulates.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction

from accounts.services import EventDraft, EventKind, record_events
from common import clock
from common.failpoints import failpoint
from common.wake import enqueue_on_commit
from subscriptions.models import (
    URL_LENGTH,
    DappDocument,
    Subscription,
    SubscriptionJob,
)
from subscriptions.services.dapps.documents import is_reachable
from subscriptions.services.dapps.queue import drain_by_dapp
from subscriptions.services.server.server_list import (
    apply_document,
    placeholder_metadata,
)
from subscriptions.services.subscribe.adoption import REPLAY_TASK
from subscriptions.services.wallet import (
    describe,
    notify_keys,
    store_entries,
    subscription_event,
)
from syncstore.services import (
    StoreKeyMissing,
    lock_stores,
    present_values,
    store_set,
)
from walletconnect.crypto.keys import Topic
from walletconnect.errors import RemoteProtocolError
from walletconnect.notify.scope import ScopeMap
from walletconnect.notify.server_list import same_life
from walletconnect.notify.values import NotifySubscription
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syncstore.models import Store

SLOTS: Final = 16
LOOK_AGAIN_AFTER: Final = timedelta(minutes=10)
Kind = SubscriptionJob.Kind


def enrich_subscriptions() -> int:
    """Complete due subscriptions; returns how many. Uses the network."""
    return drain_by_dapp(
        _claim,
        lambda job: job.subscription.dapp_url,
        _complete,
        is_to_read=_is_to_read,
        slots=SLOTS,
    )


def _claim(limit: int) -> list[SubscriptionJob]:
    user = "subscription__account__user_id"
    return (
        SubscriptionJob.objects.of_kind(Kind.COMPLETE)
        .select_related("subscription")
        .claim(
            # Most subscriptions of a list share a dapp or have one whose documents are
            # known; only the others need a thread of the limit.
            limit * 12,
            owner=user,
            max_in_flight=settings.LIMITS.enrichments,
            caps={user: settings.LIMITS.enrichments_per_user},
        )
    )


def _is_to_read(url: str, document: DappDocument | None) -> bool:
    """Read only dapps that were never read: others are rechecked on their own schedule."""
    if document is not None and document.authentication_key:
        return False
    return len(url) <= URL_LENGTH and is_reachable(url)


@transaction.atomic
def _complete(jobs: list[SubscriptionJob], document: DappDocument | None) -> None:
    """For subscriptions to one dapp, with its documents if there are any."""
    failpoint("listed.after_fetch")
    claimed = [job.subscription for job in jobs]
    stores = lock_stores(
        account_id__in={row.account_id for row in claimed},
        name=NOTIFY_SUBSCRIPTION_STORE,
    )
    subscriptions = (
        Subscription.objects.active()
        .locked()
        .filter(pk__in=[row.pk for row in claimed])
    )
    locked = {row.pk: row for row in subscriptions}
    has_keys = document is not None and bool(document.authentication_key)
    if document is not None and not has_keys:
        later = clock.now() + LOOK_AGAIN_AFTER
        look_again = max(document.expires_at or later, later)
        held = {
            job.subscription_id
            for job in jobs
            if job.put_off(look_again, document.reason)
        }
    else:
        held = {job.subscription_id for job in jobs if job.finish()}
    rows = [row for pk, row in locked.items() if pk in held]
    described, learnt = set(), []
    if document is not None and has_keys:
        for row in rows:
            if not row.dapp_authentication_did:
                row.dapp_authentication_did = document.authentication_key
                learnt.append(row)
            # Else the store has brought another wallet's metadata meanwhile.
            if _has_placeholder(row):
                enabled = ScopeMap.from_value(row.scope).enabled
                apply_document(row, row.dapp_url, document, enabled=enabled)
                described.add(row.pk)
    events = [
        subscription_event(EventKind.SUBSCRIPTION, r) for r in rows if r.pk in described
    ]
    for store in stores:
        own = [row for row in rows if row.account_id == store.account_id]
        events += _write_store(store, own, described)
    Subscription.objects.bulk_update(
        rows, ["metadata", "scope", "dapp_authentication_did"]
    )
    if learnt:
        # Replays notifications that could not be verified until now.
        SubscriptionJob.objects.schedule(Kind.HISTORY, learnt)
        enqueue_on_commit(REPLAY_TASK)
    failpoint("listed.before_commit")
    record_events(events)


def _has_placeholder(row: Subscription) -> bool:
    """Whether the row's metadata is still derived from the domain alone."""
    try:
        return bool(row.metadata == placeholder_metadata(row.dapp_url).to_value())
    except RemoteProtocolError:
        # Another wallet has stored a URL that is not valid.
        return False


def _write_store(
    store: Store, rows: Sequence[Subscription], described: set[int]
) -> list[EventDraft]:
    """Write entries that are missing in the shared store, or differ from the rows."""
    keys = notify_keys(rows)
    present = present_values(store, [row.topic for row in rows])
    values = {}
    for row in rows:
        sym_key = keys.get(Topic(row.topic))
        if sym_key is None:
            continue
        value = row.with_key(sym_key)
        if row.pk in described or not _is_equal(present.get(row.topic), value):
            values[row.topic] = value
    try:
        return store_set(
            store.account_id,
            store.name,
            store_entries(values.values()),
            notes={topic: describe(value) for topic, value in values.items()},
        )
    except StoreKeyMissing:
        # The keychain has reported the damage; the subscriptions here still work.
        return []


def _is_equal(text: str | None, value: NotifySubscription) -> bool:
    """Whether the entry in the store has the same types and the same expiry."""
    if text is None:
        return False
    try:
        entry = NotifySubscription.from_json(text)
    except RemoteProtocolError:
        return False
    return set(entry.scope.enabled) == set(value.scope.enabled) and same_life(
        entry.expiry, value.expiry
    )
