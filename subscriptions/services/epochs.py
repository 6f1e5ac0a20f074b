"""A new epoch: other store keys, and another key for every subscription.

For when keys may have leaked. The protocol cannot replace a key, so every dapp is left and
subscribed to anew; what was sent under the former keys stays readable for those who have
them. Wallets that know only the specification's store do not follow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db import transaction

from accounts.services import record_events
from preferences.services import announce_epoch
from subscriptions.models import BlockedDapp, Subscription
from subscriptions.services.deletes import delete_subscription
from subscriptions.services.errors import SubscriptionRefused
from subscriptions.services.subscribe.subscribe import subscribe
from syncstore.services import lock_stores, start_epoch

if TYPE_CHECKING:
    from accounts.models import Account, Device
    from syncstore.models import Store


@dataclass(slots=True)
class NewEpoch:
    """What was started, and names of dapps that are not subscribed to anew, with reasons."""

    stores: list[Store]
    resubscribed: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


def start_new_epoch(account: Account, signature: str, device: Device) -> NewEpoch:
    """Leave all dapps and the stores, then subscribe to the dapps with new keys.

    Raises ``SyncRefused``, ``NoIdentityKey`` or ``RemoteProtocolError``; nothing is changed
    then.
    """
    with transaction.atomic():
        stores = lock_stores(account_id=account.pk)
        rows = list(Subscription.objects.active().of(account).order_by("pk"))
        wanted = [(str(row), row.dapp_url, row.effective_types) for row in rows]
        # Into the former store as well, so that no device keeps using the old subscriptions.
        for row in rows:
            delete_subscription(row, device)
        if stores:
            epoch = stores[0].epoch + 1
            record_events(announce_epoch(account, epoch, device))
        done = NewEpoch(start_epoch(account, signature, device))
    blocked = BlockedDapp.objects.pairs([account.pk])
    for name, url, types in wanted:
        if (account.pk, url) in blocked:
            done.left[name] = "blocked"
            continue
        try:
            subscribe(account, url, types=types, device=device)
        except SubscriptionRefused as error:
            done.left[name] = str(error)
        else:
            done.resubscribed.append(name)
    return done
