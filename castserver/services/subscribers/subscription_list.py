"""The list ``sbs``: what the later generation's devices are told of an account.

protocol.md, section 10.2. One element per app: the account's newest topic there. Always
the full list, so it is read from the rows each time, for many accounts in three queries.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django.db.models import Count

from castserver.models import Delivery, Subscriber, Watcher
from common import clock
from keychain.services import Holder, sym_keys
from walletconnect.identity.did import AccountId, AppUrl
from walletconnect.notify.server_subscription import ServerSubscription

if TYPE_CHECKING:
    from collections.abc import Collection

    from walletconnect.crypto.keys import SymKey


def subscriptions_of(
    account_keys: Collection[str],
) -> dict[str, list[ServerSubscription]]:
    """By account key, ordered by age. What has no readable key is left out."""
    rows = (
        Subscriber.objects.live(clock.now())
        .of_accounts(account_keys)
        .select_related("project")
        .order_by("id")
    )
    newest = {(row.account_key, row.project_id): row for row in rows}
    unread = _unread(account_keys)
    keys = sym_keys(Holder.CAST, [row.topic for row in newest.values()])
    by_topic = {str(topic): key for topic, key in keys.items()}
    found: dict[str, list[ServerSubscription]] = {key: [] for key in account_keys}
    for pair, row in newest.items():
        key = by_topic.get(row.topic)
        if key is not None:
            found[row.account_key].append(_told(row, key, unread=unread[pair]))
    return found


def _unread(account_keys: Collection[str]) -> Counter[tuple[str, str]]:
    rows = (
        Delivery.objects.filter(
            subscriber__account_key__in=account_keys,
            subscriber__deleted_at=None,
            subscriber__expires_at__gt=clock.now(),
            read_at=None,
        )
        .values_list("subscriber__account_key", "subscriber__project_id")
        .annotate(count=Count("notification_id", distinct=True))
    )
    return Counter({(account, project): count for account, project, count in rows})


def _told(row: Subscriber, sym_key: SymKey, *, unread: int) -> ServerSubscription:
    return ServerSubscription(
        app_domain=AppUrl.parse(row.project.url).domain,
        app_authentication_key=row.project.authentication_did,
        sym_key=sym_key,
        account=AccountId.parse(row.account),
        scope=tuple(row.scope),
        expiry=int(row.expires_at.timestamp()),
        unread_notification_count=unread,
    )


def others_for(
    identity_dids: Collection[str], account_keys: Collection[str]
) -> dict[str, list[ServerSubscription]]:
    """By identity key: what a device that watches all apps hears beside one app's own.

    A device that watches one app, or none, is told of that app alone.
    """
    watching = dict(
        Watcher.objects.live(clock.now())
        .filter(identity_did__in=identity_dids, app_domain="")
        .values_list("identity_did", "account_key")
    )
    if not watching:
        return {}
    told = subscriptions_of(set(watching.values()) & set(account_keys))
    return {did: told.get(account_key, []) for did, account_key in watching.items()}
