"""What a listed subscription still lacks: the dapp's own words, and its place in the store.

A Cast Server tells domain, key, types and life. Name, icon and descriptions are in the
dapp's documents, which are read outside any transaction. And where the account syncs, its
August wallets learn of the subscription from the shared store only: if no wallet has
written the entry by now, or it says something else than the server, it is written here,
once. The server's list is applied to rows, never straight to the store, and what comes
from the store is never told to the server: so nothing goes in circles.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import transaction

from accounts.services import EventDraft, record_events
from groundwork import clock
from groundwork.failpoints import failpoint
from groundwork.wake import enqueue_on_commit
from subscriptions.models import URL_LENGTH, DappDocument, Subscription
from subscriptions.services.adoption import REPLAY_TASK
from subscriptions.services.documents import canonical_url, current_documents
from subscriptions.services.errors import DappUnusable
from subscriptions.services.listed import bare_metadata, describe
from subscriptions.services.wallet import (
    SUBSCRIPTION,
    in_words,
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
from walletconnect.notify.listing import same_life
from walletconnect.notify.values import NotifySubscription, ScopeMap
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from syncstore.models import Store

COMPLETE_TOGETHER: Final = 200
# Longer than any reading of documents takes; then another worker may try.
LEASE: Final = timedelta(seconds=60)
LOOK_AGAIN_AFTER: Final = timedelta(minutes=10)


def complete_listed() -> bool:
    """Complete what is due; whether there may be more. Uses the network."""
    rows = _claim()
    if not rows:
        return False
    documents = _documents(rows)
    failpoint("listed.after_fetch")
    _complete(rows, documents)
    return len(rows) == COMPLETE_TOGETHER


@transaction.atomic
def _claim() -> list[Subscription]:
    now = clock.now()
    rows = list(
        Subscription.objects.active()
        .select_for_update(of=("self",), skip_locked=True)
        .filter(complete_due_at__lte=now)
        .order_by("complete_due_at")[:COMPLETE_TOGETHER]
    )
    for row in rows:
        row.complete_due_at = now + LEASE
    Subscription.objects.bulk_update(rows, ["complete_due_at"])
    return rows


def _documents(rows: Sequence[Subscription]) -> dict[str, DappDocument]:
    """The documents of the rows' dapps: as they are kept, or read now if never before."""
    urls = {row.dapp_url for row in rows if len(row.dapp_url) <= URL_LENGTH}
    found = {
        document.url: document
        for document in DappDocument.objects.filter(url__in=urls)
        if document.authentication_key
    }
    unknown = {url for url in urls - set(found) if _is_reachable(url)}
    return found | (current_documents(unknown) if unknown else {})


def _is_reachable(url: str) -> bool:
    try:
        return canonical_url(url) == url
    except DappUnusable:
        return False


@transaction.atomic
def _complete(
    claimed: Sequence[Subscription], documents: Mapping[str, DappDocument]
) -> None:
    stores = lock_stores(
        account_id__in={row.account_id for row in claimed},
        name=NOTIFY_SUBSCRIPTION_STORE,
    )
    rows = list(
        Subscription.objects.active()
        .select_for_update(of=("self",))
        .select_related("account")
        .filter(
            pk__in=[row.pk for row in claimed],
            complete_due_at=claimed[0].complete_due_at,
        )
        .order_by("pk")
    )
    described = {row.pk for row in rows if _describe(row, documents.get(row.dapp_url))}
    events = [subscription_event(SUBSCRIPTION, r) for r in rows if r.pk in described]
    for store in stores:
        mine = [row for row in rows if row.account_id == store.account_id]
        events += _announce(store, mine, described)
    Subscription.objects.bulk_update(rows, _COMPLETED)
    if any(row.history_due_at for row in rows):
        enqueue_on_commit(REPLAY_TASK)
    failpoint("listed.before_commit")
    record_events(events)


_COMPLETED: Final = [
    "complete_due_at",
    "metadata",
    "scope",
    "dapp_authentication_did",
    "history_due_at",
]


def _describe(row: Subscription, document: DappDocument | None) -> bool:
    """Whether there was something to learn of its dapp; when to look again, if not."""
    row.complete_due_at = None
    if document is not None and not document.authentication_key:
        later = clock.now() + LOOK_AGAIN_AFTER
        row.complete_due_at = max(document.expires_at or later, later)
        return False
    if document is None:
        return False
    if not row.dapp_authentication_did:
        row.dapp_authentication_did = document.authentication_key
        # Notifications that could not be verified until now.
        row.history_due_at = clock.now()
    if not _is_bare(row):
        # Another wallet's words, come through the store meanwhile.
        return False
    enabled = ScopeMap.from_value(row.scope).enabled
    describe(row, row.dapp_url, document, enabled=enabled)
    return True


def _is_bare(row: Subscription) -> bool:
    """Whether nobody has said anything of its dapp yet but the domain."""
    try:
        return bool(row.metadata == bare_metadata(row.dapp_url).to_value())
    except RemoteProtocolError:
        # Another wallet has given it an address that is none.
        return False


def _announce(
    store: Store, rows: Sequence[Subscription], described: set[int]
) -> list[EventDraft]:
    """Write into the shared store what is missing there, or differs."""
    keys = notify_keys(rows)
    standing = present_values(store, [row.topic for row in rows])
    values = {}
    for row in rows:
        sym_key = keys.get(Topic(row.topic))
        if sym_key is None:
            continue
        value = row.with_key(sym_key)
        if row.pk in described or not _says(standing.get(row.topic), value):
            values[row.topic] = value
    try:
        return store_set(
            store.account_id,
            store.name,
            store_entries(values.values()),
            notes={topic: in_words(value) for topic, value in values.items()},
        )
    except StoreKeyMissing:
        # Damage that the keychain has reported; the account's inbox goes on.
        return []


def _says(text: str | None, value: NotifySubscription) -> bool:
    """Whether the entry in the store means the same types and the same life."""
    if text is None:
        return False
    try:
        entry = NotifySubscription.from_json(text)
    except RemoteProtocolError:
        return False
    return set(entry.scope.enabled) == set(value.scope.enabled) and same_life(
        entry.expiry, value.expiry
    )
