"""Applying a Cast Server's list of subscriptions: rows that join, change and end.

``walletconnect.notify.server_list`` computes the changes; here they are written, for a batch
of lists. New subscriptions get their key and their wanted topic; what the server no longer
lists ends here and in the shared store. The dapp's metadata and the entry in the shared
store follow a moment later (``subscriptions.services.dapps.enrichment``), since often another
wallet of the account has written the entry by then.

The caller holds the locks on the stores, and records the events.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db.models import Q

from accounts.services import EventDraft, EventKind, audit
from common import clock
from common.wake import enqueue_on_commit
from keychain.services import Holder, put_sym_keys
from messaging import outbox
from messaging.models import Party
from subscriptions.models import DappDocument, Subscription, SubscriptionJob
from subscriptions.services.dapps.documents import normalize_dapp_url
from subscriptions.services.deletes import BY_TIME, end_subscriptions
from subscriptions.services.errors import DappUnusable
from subscriptions.services.server.remote_reads import compare_counts
from subscriptions.services.subscribe.adoption import REPLAY_TASK
from subscriptions.services.wallet import subscription_event
from syncstore.models import Store
from syncstore.services import StoreKeyMissing, store_delete
from walletconnect.crypto.keys import Topic
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AppUrl
from walletconnect.notify.scope import ScopeMap
from walletconnect.notify.server_list import (
    KnownSubscription,
    compare_list,
    follow_scope,
    listed_app,
)
from walletconnect.notify.values import Metadata
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from accounts.models import Account
    from subscriptions.models.watches import AccountWatch
    from walletconnect.crypto.keys import SymKey
    from walletconnect.notify.server_subscription import ServerSubscription
    from walletconnect.notify.watch import SubscriptionList

logger = logging.getLogger(__name__)

Kind = SubscriptionJob.Kind
ENRICH_TASK: Final = "subscriptions.enrich_subscriptions"
# A v0 wallet writes its own store entry within this time; writing ours at once would
# publish the entry twice for most subscriptions.
SETTLES_WITHIN: Final = timedelta(seconds=2)
BY_SERVER: Final = "no longer listed by the Cast Server"
# Ended by no person or dapp: the next list may bring it back.
_REVERSIBLE: Final = frozenset({BY_SERVER, BY_TIME})
_CHANGED_FIELDS: Final = ["scope", "expiry", "listed_by", "changed_by", "changed_at"]
_REVIVED_FIELDS: Final = [
    *_CHANGED_FIELDS,
    "metadata",
    "dapp_url",
    "dapp_authentication_did",
    "added_by",
    "device",
    "deleted_at",
    "delete_reason",
]


@dataclass(slots=True)
class _Batch:
    """The changes of a batch of lists, before they are written."""

    new: list[Subscription] = field(default_factory=list)
    revived: list[Subscription] = field(default_factory=list)
    changed: list[Subscription] = field(default_factory=list)
    # Listed for the first time, and otherwise as they were.
    first_listed: list[Subscription] = field(default_factory=list)
    ended: list[Subscription] = field(default_factory=list)
    # Each with the number of its notifications that the server counts as unread.
    counted: list[tuple[Subscription, int]] = field(default_factory=list)
    keys: dict[int, list[SymKey]] = field(default_factory=dict)
    # Without the dapp's documents, or perhaps without an entry in the shared store.
    incomplete: list[Subscription] = field(default_factory=list)


def apply_server_lists(
    lists: Sequence[tuple[AccountWatch, SubscriptionList]],
) -> list[EventDraft]:
    """Apply verified lists, one per account; returns the events to record."""
    if not lists:
        return []
    accounts = {watch.account_id for watch, _ in lists}
    topics = {e.sym_key.topic for _, listed in lists for e in listed.subscriptions}
    # Ended subscriptions that a list names are needed, too: it may revive them.
    rows = Subscription.objects.locked().filter(
        Q(deleted_at=None) | Q(topic__in=topics), account_id__in=accounts
    )
    by_account: dict[int, dict[str, Subscription]] = {pk: {} for pk in accounts}
    for row in rows:
        by_account[row.account_id][row.topic] = row
    stores = Store.objects.filter(
        account_id__in=accounts, name=NOTIFY_SUBSCRIPTION_STORE
    )
    synced = set(stores.values_list("account_id", flat=True))
    batch = _Batch()
    for watch, listed in lists:
        known = by_account[watch.account_id]
        changes = compare_list(
            listed,
            [
                KnownSubscription(
                    topic=Topic(row.topic),
                    enabled=frozenset(ScopeMap.from_value(row.scope).enabled),
                    expiry=row.expiry,
                    is_listed=row.listed_by_id == watch.server_id,
                    is_active=row.deleted_at is None,
                    deleted_at=(
                        int(row.deleted_at.timestamp())
                        if row.deleted_at and row.delete_reason not in _REVERSIBLE
                        else None
                    ),
                )
                for row in known.values()
            ],
            now=clock.now_s(),
        )
        for entry in changes.changed:
            row = known[entry.sym_key.topic]
            types = row.effective_types
            scope = follow_scope(ScopeMap.from_value(row.scope), entry.scope)
            row.scope = scope.to_value()
            if row.effective_types != types:
                row.note_change(None, clock.now())
            row.expiry = entry.expiry
            row.listed_by = watch.server
            if row.account_id in synced:
                batch.incomplete.append(row)
            batch.changed.append(row)
        for topic in changes.confirmed:
            known[topic].listed_by = watch.server
            batch.first_listed.append(known[topic])
        batch.ended += [known[topic] for topic in changes.removed]
        for entry in listed.subscriptions:
            present = known.get(entry.sym_key.topic)
            if present is not None and present.deleted_at is None:
                batch.counted.append((present, entry.unread_notification_count))
        is_synced = watch.account_id in synced
        _join(batch, watch, changes.added, known=known, is_synced=is_synced)
    return _write(batch)


def _join(
    batch: _Batch,
    watch: AccountWatch,
    entries: Iterable[ServerSubscription],
    *,
    known: Mapping[str, Subscription],
    is_synced: bool,
) -> None:
    """Add subscriptions whose dapp has a usable address, as far as the limit allows.

    The documents of other addresses are never read, so none of their notifications could
    be verified.
    """
    server = AppUrl.parse(watch.server.url)
    usable: list[tuple[ServerSubscription, str]] = []
    for entry in entries:
        try:
            url = normalize_dapp_url(str(listed_app(entry.app_domain, server=server)))
        except (RemoteProtocolError, DappUnusable) as error:
            extra = {"server": watch.server.url, "reason": str(error)}
            logger.info("a listed app has no usable address", extra=extra)
            continue
        usable.append((entry, url))
    documents = DappDocument.objects.in_bulk(
        {url for _, url in usable}, field_name="url"
    )
    active = sum(row.deleted_at is None for row in known.values())
    room = max(0, settings.LIMITS.subscriptions_per_account - active)
    if len(usable) > room:
        logger.info("too many subscriptions", extra={"account": watch.account_id})
    for entry, url in usable[:room]:
        topic = entry.sym_key.topic
        row = known.get(topic)
        if row is None:
            row = Subscription(
                account=watch.account, topic=topic, created_at=clock.now()
            )
            batch.new.append(row)
        else:
            batch.revived.append(row)
        apply_document(row, url, documents.get(url), enabled=entry.scope)
        row.expiry = entry.expiry
        row.added_by = Subscription.AddedBy.SERVER
        row.device = None
        row.listed_by = watch.server
        row.deleted_at, row.delete_reason = None, ""
        if is_synced or not row.dapp_authentication_did:
            batch.incomplete.append(row)
        batch.keys.setdefault(row.account_id, []).append(entry.sym_key)


def placeholder_metadata(url: str) -> Metadata:
    """The metadata of a dapp whose documents have not been read yet."""
    return Metadata(name=AppUrl.parse(url).domain[:256], description="", url=url)


def apply_document(
    row: Subscription,
    url: str,
    document: DappDocument | None,
    *,
    enabled: Sequence[str],
) -> None:
    """Set the dapp's metadata, key and types, as far as they are known."""
    scope = ScopeMap()
    metadata = placeholder_metadata(url)
    if document is not None and document.authentication_key:
        scope = ScopeMap.of_types(document.notification_types, enabled)
        metadata = document.metadata
        row.dapp_authentication_did = document.authentication_key
    elif row.dapp_url != url:
        row.dapp_authentication_did = ""
    row.dapp_url = url
    row.metadata = metadata.to_value()
    row.scope = follow_scope(scope, enabled).to_value()


def _write(batch: _Batch) -> list[EventDraft]:
    Subscription.objects.bulk_create(batch.new)
    Subscription.objects.bulk_update(batch.revived, _REVIVED_FIELDS)
    Subscription.objects.bulk_update(
        [*batch.changed, *batch.first_listed], _CHANGED_FIELDS
    )
    for account_id, keys in batch.keys.items():
        put_sym_keys(Holder.WALLET, keys, account_id=account_id)
    joined = [*batch.new, *batch.revived]
    outbox.subscribe(Party.WALLET, [row.topic for row in joined])
    SubscriptionJob.objects.schedule(Kind.HISTORY, joined)
    if batch.incomplete:
        at = clock.now() + SETTLES_WITHIN
        SubscriptionJob.objects.schedule(Kind.COMPLETE, batch.incomplete, at=at)
        enqueue_on_commit(ENRICH_TASK, delay_s=SETTLES_WITHIN.total_seconds())
    if any(row.dapp_authentication_did for row in joined):
        enqueue_on_commit(REPLAY_TASK)
    compare_counts(batch.counted)
    for row in joined:
        _audit("subscription.added", row, "listed by the Cast Server")
    events = [subscription_event(EventKind.SUBSCRIPTION, row) for row in joined]
    events += [subscription_event(EventKind.UPDATE, row) for row in batch.changed]
    events += end_subscriptions(batch.ended, reason=BY_SERVER)
    by_account: dict[Account, list[Subscription]] = {}
    for row in batch.ended:
        _audit("subscription.deleted", row, BY_SERVER)
        by_account.setdefault(row.account, []).append(row)
    for account, rows in by_account.items():
        notes = {row.topic: f"{row}: {BY_SERVER}" for row in rows}
        try:
            events += store_delete(
                account.pk, NOTIFY_SUBSCRIPTION_STORE, list(notes), notes=notes
            )
        except StoreKeyMissing:
            # The keychain has reported the damage. Rows here still follow the list.
            logger.info("the store's key is missing", extra={"account": account.pk})
    return events


def _audit(action: str, row: Subscription, detail: str) -> None:
    audit(action, account=row.account, subject=row.dapp_url[:256], detail=detail)
