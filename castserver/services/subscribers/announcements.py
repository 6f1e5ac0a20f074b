"""``wc_notifySubscriptionsChanged``: watchers receive an account's changed list.

Clients handle announcements concurrently, so of two that arrive close together the older
may win. A change therefore waits 100 ms as a row, and changes that came together are
announced once.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import connection, transaction

from castserver.models import ChangedSubscriptions, Subscriber, Watcher
from castserver.services.notifications.ids import rpc_ids
from castserver.services.projects.identities import notify_server
from castserver.services.publications import publish_all
from castserver.services.subscribers.subscription_list import (
    subscriptions_of,
    with_account,
)
from common import clock, entropy
from common.wake import enqueue_on_commit
from keychain.services import Holder, sym_keys
from walletconnect.identity.did import AccountId, AppUrl
from walletconnect.notify import watch

if TYPE_CHECKING:
    from collections.abc import Iterable

ANNOUNCE_TASK: Final = "castserver.announce_changes"
WAIT: Final = timedelta(milliseconds=100)
BATCH_SIZE: Final = 500

_TAKE: Final = """
DELETE FROM castserver_changedsubscriptions WHERE id IN (
    SELECT id FROM castserver_changedsubscriptions WHERE due_at <= %s
    ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
) RETURNING account_key, app_domain, source_did
"""


def note_changes(changes: Iterable[tuple[Subscriber, str]]) -> None:
    """Store which subscribers changed, and by which identity key.

    In the transaction of the change. Accounts without watchers cost one query.
    """
    noted = {
        (each.account_key, AppUrl.parse(each.project.url).domain, source_did)
        for each, source_did in changes
    }
    if not noted:
        return
    watched = set(
        Watcher.objects.live(clock.now())
        .filter(account_key__in={account_key for account_key, _, _ in noted})
        .values_list("account_key", flat=True)
    )
    due_at = clock.now() + WAIT
    rows = [
        ChangedSubscriptions(
            account_key=account_key,
            app_domain=domain,
            source_did=source_did,
            due_at=due_at,
        )
        for account_key, domain, source_did in sorted(noted)
        if account_key in watched
    ]
    if rows:
        ChangedSubscriptions.objects.bulk_create(rows, ignore_conflicts=True)
        enqueue_on_commit(ANNOUNCE_TASK, delay_s=WAIT.total_seconds())


def announce_changes() -> int:
    """Announce due changes; returns the number of watchers that get a message."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_TAKE, [clock.now(), BATCH_SIZE])
            changes: list[tuple[str, str, str]] = cursor.fetchall()
        if not changes:
            return 0
        if len(changes) == BATCH_SIZE:
            # One account's changes may have filled the batch: the rest follows at once.
            enqueue_on_commit(ANNOUNCE_TASK)
        server = notify_server()
        if server is None:
            raise LookupError("the keys of the Cast Server cannot be opened")
        now = clock.now_s()
        account_keys = {account_key for account_key, _, _ in changes}
        by_account = _watchers(account_keys)
        # A watcher gets one message, however many changes concern it.
        notified: dict[str, watch.Watcher] = {}
        for account_key, domain, source_did in changes:
            for watcher in by_account.get(account_key, []):
                for each in watch.watchers_to_notify(
                    [watcher], watcher.account, domain, source_did=source_did, now=now
                ):
                    notified[each.identity_did] = each
        lists = subscriptions_of(account_keys)
        publish_all(
            watch.announce_changes(
                watcher,
                server,
                subscriptions=with_account(lists[watcher.account.key], watcher.account),
                request_id=request_id,
                iv=entropy.iv(),
                now=now,
            )
            for watcher, request_id in zip(
                notified.values(), rpc_ids(len(notified)), strict=True
            )
        )
    return len(notified)


def _watchers(account_keys: Iterable[str]) -> dict[str, list[watch.Watcher]]:
    rows = list(
        Watcher.objects.live(clock.now())
        .filter(account_key__in=account_keys)
        .order_by("id")
    )
    keys = sym_keys(Holder.CAST, [row.response_topic for row in rows])
    by_topic = {str(topic): key for topic, key in keys.items()}
    found: dict[str, list[watch.Watcher]] = {}
    for row in rows:
        if row.response_topic in by_topic:
            watcher = watch.Watcher(
                identity_did=row.identity_did,
                account=AccountId.parse(row.account),
                domain=row.app_domain or None,
                sym_key=by_topic[row.response_topic],
                mjv=row.mjv or None,
                expires_at=int(row.expires_at.timestamp()),
            )
            found.setdefault(row.account_key, []).append(watcher)
    return found
