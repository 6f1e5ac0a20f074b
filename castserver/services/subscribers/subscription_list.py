"""The claim ``sbs``: an account's subscriptions, as v1 clients receive them.

One element per app: the account's newest topic there. Always the whole list, read from the
rows each time, for many accounts in three queries.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from django.db.models import Count

from castserver.models import Delivery, Subscriber, Watcher
from common import clock
from keychain.services import Holder, sym_keys
from walletconnect.identity.did import AccountId, AppUrl
from walletconnect.notify.server_subscription import ServerSubscription

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


def subscriptions_of(
    account_keys: Collection[str],
) -> dict[str, list[ServerSubscription]]:
    """By account key, oldest first. Subscriptions without a readable key are left out."""
    now = clock.now()
    rows = (
        Subscriber.objects.live(now)
        .of_accounts(account_keys)
        .select_related("project")
        .oldest_first()
    )
    newest = {(row.account_key, row.project_id): row for row in rows}
    counts = (
        Delivery.objects.filter(
            subscriber__account_key__in=account_keys,
            subscriber__deleted_at=None,
            subscriber__expires_at__gt=now,
            read_at=None,
        )
        .values_list("subscriber__account_key", "subscriber__project_id")
        # Distinct: a notification may have gone to several topics of the account.
        .annotate(count=Count("notification_id", distinct=True))
    )
    unread = Counter({(account, project): count for account, project, count in counts})
    keys = {
        str(topic): key
        for topic, key in sym_keys(
            Holder.CAST, [row.topic for row in newest.values()]
        ).items()
    }
    found: dict[str, list[ServerSubscription]] = {key: [] for key in account_keys}
    for pair, row in newest.items():
        if row.topic in keys:
            found[row.account_key].append(
                ServerSubscription(
                    app_domain=AppUrl.parse(row.project.url).domain,
                    app_authentication_key=row.project.authentication_did,
                    sym_key=keys[row.topic],
                    account=AccountId.parse(row.account),
                    scope=tuple(row.scope),
                    expiry=int(row.expires_at.timestamp()),
                    unread_notification_count=unread[pair],
                )
            )
    return found


def with_account(
    subscriptions: Iterable[ServerSubscription], account: AccountId
) -> list[ServerSubscription]:
    """The list with the account written as the receiving device writes it.

    Clients compare the text and drop elements with another chain or letter case.
    """
    return [replace(each, account=account) for each in subscriptions]


def others_for(
    identity_dids: Collection[str], account_keys: Collection[str]
) -> dict[str, list[ServerSubscription]]:
    """By identity key: all subscriptions that a device watching all apps may receive.

    A device that watches one app, or none, receives that app alone.
    """
    watching = dict(
        Watcher.objects.live(clock.now())
        .filter(identity_did__in=identity_dids, app_domain="")
        .values_list("identity_did", "account_key")
    )
    if not watching:
        return {}
    found = subscriptions_of(set(watching.values()) & set(account_keys))
    return {did: found.get(account_key, []) for did, account_key in watching.items()}
