"""Telling watchers that an account's subscriptions changed.

protocol.md, section 10.3. Clients handle announcements side by side, so of two that are
close together the older may be kept. A change therefore waits a moment as a row; what
came together is announced together.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import connection, transaction

from castserver.models import ChangedSubscriptions, Subscriber, Watcher
from castserver.services.notifications.ids import rpc_ids
from castserver.services.projects.identities import notify_server
from castserver.services.publications import publish_all
from castserver.services.subscribers.subscription_list import subscriptions_of
from common import clock, entropy
from common.wake import enqueue_on_commit
from keychain.services import Holder, sym_keys
from walletconnect.identity.did import AccountId, AppUrl
from walletconnect.notify import watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from walletconnect.crypto.keys import SymKey
    from walletconnect.notify.server_subscription import ServerSubscription

ANNOUNCE_TASK: Final = "castserver.announce_changes"
WAIT: Final = timedelta(milliseconds=100)
BATCH: Final = 500

_TAKE: Final = """
DELETE FROM castserver_changedsubscriptions WHERE id IN (
    SELECT id FROM castserver_changedsubscriptions WHERE due_at <= %s
    ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
) RETURNING account_key, app_domain, source_did
"""


def note_changes(changes: Iterable[tuple[Subscriber, str]]) -> None:
    """Remember that these subscribers changed, and by which identity key.

    In the transaction of the change. Accounts that nobody watches cost one query.
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
    """Announce what is due; how many watchers were told."""
    with transaction.atomic():
        changes = _take()
        if not changes:
            return 0
        server = notify_server()
        if server is None:
            raise LookupError("the keys of the Cast Server do not open")
        now = clock.now_s()
        account_keys = {account_key for account_key, _, _ in changes}
        told = subscriptions_of(account_keys)
        watchers = _watchers_to_notify(changes, _watchers(account_keys), now=now)
        publish_all(
            watch.announce_changes(
                watcher,
                server,
                subscriptions=spelled(told[watcher.account.key], watcher.account),
                request_id=request_id,
                iv=entropy.iv(),
                now=now,
            )
            for watcher, request_id in zip(
                watchers, rpc_ids(len(watchers)), strict=True
            )
        )
    return len(watchers)


def spelled(
    told: Iterable[ServerSubscription], account: AccountId
) -> list[ServerSubscription]:
    """Subscriptions with the account as the device spells it: it compares the text."""
    return [replace(each, account=account) for each in told]


def _take() -> list[tuple[str, str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [clock.now(), BATCH])
        return [(row[0], row[1], row[2]) for row in cursor.fetchall()]


def _watchers(account_keys: Iterable[str]) -> list[watch.Watcher]:
    rows = list(
        Watcher.objects.live(clock.now())
        .filter(account_key__in=account_keys)
        .order_by("id")
    )
    keys = {
        str(topic): key
        for topic, key in sym_keys(
            Holder.CAST, [row.response_topic for row in rows]
        ).items()
    }
    return [_watcher(row, keys) for row in rows if row.response_topic in keys]


def _watcher(row: Watcher, keys: Mapping[str, SymKey]) -> watch.Watcher:
    return watch.Watcher(
        identity_did=row.identity_did,
        account=AccountId.parse(row.account),
        domain=row.app_domain or None,
        sym_key=keys[row.response_topic],
        mjv=row.mjv or None,
        expires_at=int(row.expires_at.timestamp()),
    )


def _watchers_to_notify(
    changes: Iterable[tuple[str, str, str]],
    watchers: list[watch.Watcher],
    *,
    now: int,
) -> list[watch.Watcher]:
    """Every watcher that some change concerns, once."""
    by_account: dict[str, list[watch.Watcher]] = {}
    for watcher in watchers:
        by_account.setdefault(watcher.account.key, []).append(watcher)
    found: dict[str, watch.Watcher] = {}
    for account_key, domain, source_did in changes:
        for watcher in by_account.get(account_key, []):
            for each in watch.watchers_to_notify(
                [watcher], watcher.account, domain, source_did=source_did, now=now
            ):
                found[each.identity_did] = each
    return list(found.values())
