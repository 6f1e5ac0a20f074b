"""Blocking a dapp: no notification is stored, and no subscription made, until unblocked.

The dapp receives an update with an empty scope, not a delete. A delete would end the
subscription on every wallet of the account, and the next ``wc_notifySubscribe`` of any of
them would start anew; with an empty scope a well-behaved dapp stops sending, the
subscription stays, and unblocking needs only another update. Notifications of a dapp that
sends nevertheless are dropped in ``keep_messages``, without a receipt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from accounts.services import EventKind, audit, record_events
from common import clock
from identity.services import NoIdentityKey
from subscriptions.models import BlockedDapp, Subscription
from subscriptions.services.errors import SubscriptionRefused
from subscriptions.services.updates import update
from subscriptions.services.wallet import require_own, subscription_event

if TYPE_CHECKING:
    from accounts.models import Device


@transaction.atomic
def block(subscription: Subscription, device: Device) -> bool:
    """Block the subscription's dapp for its account; whether the dapp is notified.

    It is not if a key is missing for the update; the block is in force nevertheless.
    Raises ``NotYours``.
    """
    require_own(subscription.account, device)
    rows = list(_active(subscription.account_id, subscription.dapp_url))
    types = sorted(set().union(*(row.effective_types for row in rows)))
    sent = [_request(row, [], device) for row in rows]
    BlockedDapp.objects.get_or_create(
        account_id=subscription.account_id,
        dapp_url=subscription.dapp_url,
        defaults={
            "name": str(subscription)[:128],
            "types": types,
            "created_at": clock.now(),
        },
    )
    audit(
        "dapp.blocked",
        device=device,
        account=subscription.account,
        subject=subscription.dapp_url[:256],
    )
    record_events([subscription_event(EventKind.UPDATE, row) for row in rows])
    return all(sent)


@transaction.atomic
def unblock(blocked: BlockedDapp, device: Device) -> bool:
    """End a block and request the types from before it; whether that was possible."""
    require_own(blocked.account, device)
    blocked.delete()
    rows = list(_active(blocked.account_id, blocked.dapp_url))
    sent = [
        _request(row, sorted(set(blocked.types) & set(row.scope)), device)
        for row in rows
    ]
    audit(
        "dapp.unblocked",
        device=device,
        account=blocked.account,
        subject=blocked.dapp_url[:256],
    )
    record_events([subscription_event(EventKind.UPDATE, row) for row in rows])
    return all(sent)


def _active(account_id: int, dapp_url: str) -> list[Subscription]:
    found = Subscription.objects.active().select_related("account")
    return list(found.filter(account_id=account_id, dapp_url=dapp_url).order_by("pk"))


def _request(row: Subscription, types: list[str], device: Device) -> bool:
    try:
        update(row, types, device)
    except (SubscriptionRefused, NoIdentityKey):
        return False
    return True
