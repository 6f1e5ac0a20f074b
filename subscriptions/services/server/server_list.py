"""What comes of a Cast Server's list: rows that join, follow and end.

``walletconnect.notify.server_list`` says what a list changes. Here it is written, for a batch
of lists: what joins is wanted and its key kept, what the server no longer lists ends here
and in the shared store. The rest of a subscription, the dapp's own words and its place in
the shared store, follows a moment later (``subscriptions.services.dapps.enrichment``): often
another wallet of the account has written the entry by then.

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
    ListChanges,
    fold_list,
    follow_scope,
    listed_app,
)
from walletconnect.notify.values import Metadata
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from accounts.models import Account
    from subscriptions.models.watches import AccountWatch, WatchedServer
    from walletconnect.crypto.keys import SymKey
    from walletconnect.notify.server_subscription import ServerSubscription
    from walletconnect.notify.watch import SubscriptionList

logger = logging.getLogger(__name__)

Kind = SubscriptionJob.Kind
ENRICH_TASK: Final = "subscriptions.enrich_subscriptions"
# A wallet of August writes its own entry within this time.
SETTLES_WITHIN: Final = timedelta(seconds=2)
BY_SERVER: Final = "no longer listed by the Cast Server"
# Nobody's word: what ended so may come back with the next list.
_UNKNOWN_DOMAIN: Final = frozenset({BY_SERVER, BY_TIME})


@dataclass(frozen=True, slots=True)
class Told:
    """A verified list, and whose it is."""

    watch: AccountWatch
    listed: SubscriptionList


@dataclass(slots=True)
class _Batch:
    """What a batch of lists comes to."""

    synced: set[int]
    new: list[Subscription] = field(default_factory=list)
    revived: list[Subscription] = field(default_factory=list)
    changed: list[Subscription] = field(default_factory=list)
    met: list[Subscription] = field(default_factory=list)
    ended: list[Subscription] = field(default_factory=list)
    # How many notifications of a row its server counts as unread.
    counted: list[tuple[Subscription, int]] = field(default_factory=list)
    keys: dict[int, list[SymKey]] = field(default_factory=dict)
    # What is missing of its dapp's documents, or in the shared store if nobody else has
    # written it by then.
    to_complete: list[Subscription] = field(default_factory=list)

    @property
    def joined(self) -> list[Subscription]:
        return [*self.new, *self.revived]


def apply_server_lists(told: Sequence[Told]) -> list[EventDraft]:
    """Make the servers' lists true here, one per account; the events to record."""
    if not told:
        return []
    accounts = {each.watch.account_id for each in told}
    known = _known(told, accounts)
    synced = Store.objects.filter(
        account_id__in=accounts, name=NOTIFY_SUBSCRIPTION_STORE
    )
    batch = _Batch(set(synced.values_list("account_id", flat=True)))
    now = clock.now_s()
    for each in told:
        rows = known[each.watch.account_id]
        changes = fold_list(
            each.listed,
            [_as_known(row, each.watch.server) for row in rows.values()],
            now=now,
        )
        _follow(batch, rows, changes, server=each.watch.server)
        _count(batch, rows, each.listed.subscriptions)
        _join(batch, each.watch, changes.joined, rows=rows)
    return _write(batch)


def _known(
    told: Sequence[Told], accounts: set[int]
) -> dict[int, dict[str, Subscription]]:
    """By account and topic: what is active, and ended ones that a list names."""
    topics = {
        entry.sym_key.topic for each in told for entry in each.listed.subscriptions
    }
    rows = (
        Subscription.objects.select_for_update(of=("self",))
        .select_related("account")
        .filter(Q(deleted_at=None) | Q(topic__in=topics), account_id__in=accounts)
        .order_by("pk")
    )
    found: dict[int, dict[str, Subscription]] = {pk: {} for pk in accounts}
    for row in rows:
        found[row.account_id][row.topic] = row
    return found


def _as_known(row: Subscription, server: WatchedServer) -> KnownSubscription:
    left = row.deleted_at is not None and row.delete_reason not in _UNKNOWN_DOMAIN
    return KnownSubscription(
        topic=Topic(row.topic),
        enabled=frozenset(ScopeMap.from_value(row.scope).enabled),
        expiry=row.expiry,
        is_listed=row.listed_by_id == server.pk,
        is_active=row.deleted_at is None,
        left_at=int(row.deleted_at.timestamp()) if left and row.deleted_at else None,
    )


# --- what is known already ------------------------------------------------------------


def _follow(
    batch: _Batch,
    rows: Mapping[str, Subscription],
    changes: ListChanges,
    *,
    server: WatchedServer,
) -> None:
    for entry in changes.changed:
        row = rows[entry.sym_key.topic]
        scope = follow_scope(ScopeMap.from_value(row.scope), entry.scope)
        types = row.effective_types
        row.scope = scope.to_value()
        if row.effective_types != types:
            row.note_change(None, clock.now())
        row.expiry = entry.expiry
        row.listed_by = server
        if row.account_id in batch.synced:
            batch.to_complete.append(row)
        batch.changed.append(row)
    for topic in changes.met:
        rows[topic].listed_by = server
        batch.met.append(rows[topic])
    batch.ended += [rows[topic] for topic in changes.vanished]


def _count(
    batch: _Batch,
    rows: Mapping[str, Subscription],
    entries: Iterable[ServerSubscription],
) -> None:
    for entry in entries:
        row = rows.get(entry.sym_key.topic)
        if row is not None and row.deleted_at is None:
            batch.counted.append((row, entry.unread_notification_count))


# --- what joins -----------------------------------------------------------------------


def _join(
    batch: _Batch,
    watch: AccountWatch,
    entries: Iterable[ServerSubscription],
    *,
    rows: Mapping[str, Subscription],
) -> None:
    found = _apps(entries, watch.server)
    documents = DappDocument.objects.in_bulk(
        {url for _, url in found}, field_name="url"
    )
    room = _room(rows.values())
    for entry, url in found[:room]:
        topic = entry.sym_key.topic
        if topic in rows:
            row = rows[topic]
            batch.revived.append(row)
        else:
            row = Subscription(
                account=watch.account, topic=topic, created_at=clock.now()
            )
            batch.new.append(row)
        describe(row, url, documents.get(url), enabled=entry.scope)
        _start(batch, row, entry, watch.server)
    if len(found) > room:
        logger.info("too many subscriptions", extra={"account": watch.account_id})


def _apps(
    entries: Iterable[ServerSubscription], server: WatchedServer
) -> list[tuple[ServerSubscription, str]]:
    """The entries whose dapp has an address that is reached, in its one spelling.

    The others are passed over: their documents are never read, so no notification of
    theirs could be verified.
    """
    beside = AppUrl.parse(server.url)
    found = []
    for entry in entries:
        try:
            url = normalize_dapp_url(str(listed_app(entry.app_domain, server=beside)))
        except (RemoteProtocolError, DappUnusable) as error:
            extra = {"server": server.url, "reason": str(error)}
            logger.info("a listed app has no usable address", extra=extra)
            continue
        found.append((entry, url))
    return found


def _room(rows: Iterable[Subscription]) -> int:
    active = sum(row.deleted_at is None for row in rows)
    return max(0, settings.LIMITS.subscriptions_per_account - active)


def bare_metadata(url: str) -> Metadata:
    """What there is to say of a dapp before its documents have been read."""
    return Metadata(name=AppUrl.parse(url).domain[:256], description="", url=url)


def describe(
    row: Subscription,
    url: str,
    document: DappDocument | None,
    *,
    enabled: Sequence[str],
) -> None:
    """Fill in what the dapp says of itself and of its types, as far as it is known."""
    scope = ScopeMap()
    metadata = bare_metadata(url)
    if document is not None and document.authentication_key:
        scope = ScopeMap.of_types(document.notification_types, enabled)
        metadata = document.metadata
        row.dapp_authentication_did = document.authentication_key
    elif row.dapp_url != url:
        row.dapp_authentication_did = ""
    row.dapp_url = url
    row.metadata = metadata.to_value()
    row.scope = follow_scope(scope, enabled).to_value()


def _start(
    batch: _Batch,
    row: Subscription,
    entry: ServerSubscription,
    server: WatchedServer,
) -> None:
    row.expiry = entry.expiry
    row.added_by = Subscription.AddedBy.SERVER
    row.device = None
    row.listed_by = server
    row.deleted_at, row.delete_reason = None, ""
    if row.account_id in batch.synced or not row.dapp_authentication_did:
        batch.to_complete.append(row)
    batch.keys.setdefault(row.account_id, []).append(entry.sym_key)


# --- writing --------------------------------------------------------------------------

_FOLLOWED: Final = [
    "scope",
    "expiry",
    "listed_by",
    "changed_by",
    "changed_at",
]
_REVIVED: Final = [
    *_FOLLOWED,
    "metadata",
    "dapp_url",
    "dapp_authentication_did",
    "added_by",
    "device",
    "deleted_at",
    "delete_reason",
]


def _write(batch: _Batch) -> list[EventDraft]:
    Subscription.objects.bulk_create(batch.new)
    Subscription.objects.bulk_update(batch.revived, _REVIVED)
    Subscription.objects.bulk_update([*batch.changed, *batch.met], _FOLLOWED)
    for account_id, keys in batch.keys.items():
        put_sym_keys(Holder.WALLET, keys, account_id=account_id)
    outbox.subscribe(Party.WALLET, [row.topic for row in batch.joined])
    SubscriptionJob.objects.schedule(Kind.HISTORY, batch.joined)
    if batch.to_complete:
        at = clock.now() + SETTLES_WITHIN
        SubscriptionJob.objects.schedule(Kind.COMPLETE, batch.to_complete, at=at)
        enqueue_on_commit(ENRICH_TASK, delay_s=SETTLES_WITHIN.total_seconds())
    if any(row.dapp_authentication_did for row in batch.joined):
        enqueue_on_commit(REPLAY_TASK)
    compare_counts(batch.counted)
    for row in batch.joined:
        _audit("subscription.added", row, "told by the Cast Server")
    events = [subscription_event(EventKind.SUBSCRIPTION, row) for row in batch.joined]
    events += [subscription_event(EventKind.UPDATE, row) for row in batch.changed]
    return events + _end(batch.ended)


def _audit(action: str, row: Subscription, detail: str) -> None:
    audit(action, account=row.account, subject=row.dapp_url[:256], detail=detail)


def _end(rows: Sequence[Subscription]) -> list[EventDraft]:
    events = end_subscriptions(rows, reason=BY_SERVER)
    by_account: dict[Account, list[Subscription]] = {}
    for row in rows:
        _audit("subscription.deleted", row, BY_SERVER)
        by_account.setdefault(row.account, []).append(row)
    for account, ended in by_account.items():
        events += _delete_from_store(account, ended)
    return events


def _delete_from_store(
    account: Account, rows: Sequence[Subscription]
) -> list[EventDraft]:
    notes = {row.topic: f"{row}: {BY_SERVER}" for row in rows}
    try:
        return store_delete(
            account.pk, NOTIFY_SUBSCRIPTION_STORE, list(notes), notes=notes
        )
    except StoreKeyMissing:
        # Damage that the keychain has reported; the list is true all the same.
        return []
