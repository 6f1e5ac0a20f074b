"""Blocking a dapp: no notification is stored, and no subscription made, until unblocked.

The dapp receives an update with an empty scope, not a delete. A delete would end the
subscription on every wallet of the account, and the next ``wc_notifySubscribe`` of any of
them would start anew; with an empty scope a well-behaved dapp stops sending, the
subscription stays, and unblocking needs only another update. Notifications of a dapp that
sends nevertheless are dropped in ``keep_messages``, without a receipt.

A block is a member of the preferences that all devices of the account share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction

from accounts.services import EventKind, audit, record_events
from common import clock
from identity.services import NoIdentityKey
from preferences import services as preferences
from subscriptions.models import BlockedDapp, Subscription
from subscriptions.services.errors import SubscriptionRefused, TooMany
from subscriptions.services.updates import update
from subscriptions.services.wallet import require_own, subscription_event
from walletconnect.json_values import require_object, shown_line

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from accounts.models import Account, Device
    from accounts.services import EventDraft
    from walletconnect.json_values import JsonObject, JsonValue

NAME_LENGTH: Final = 128


@transaction.atomic
def block(subscription: Subscription, device: Device) -> bool:
    """Block the subscription's dapp for its account; whether the dapp is notified.

    It is not if a key is missing for the update; the block is in force nevertheless.
    Raises ``NotYours`` or ``TooMany``.
    """
    account = subscription.account
    require_own(account, device)
    preferences.lock(account)
    rows = list(_active(account.pk, subscription.dapp_url))
    types = sorted(set().union(*(row.effective_types for row in rows)))
    sent = [_request(row, [], device) for row in rows]
    name = str(subscription)[:NAME_LENGTH]
    present = BlockedDapp.objects.filter(
        account=account, dapp_url=subscription.dapp_url
    ).first()
    value: JsonObject = {
        "on": True,
        "name": name,
        # Blocking again does not forget what was on before.
        "types": list(present.types if present else types),
    }
    events = _change(account, subscription.dapp_url, value, f"{name}: blocked", device)
    audit(
        "dapp.blocked",
        device=device,
        account=account,
        subject=subscription.dapp_url[:256],
    )
    record_events(events)
    return all(sent)


@transaction.atomic
def unblock(blocked: BlockedDapp, device: Device) -> bool:
    """End a block and request the types from before it; whether that was possible."""
    account = blocked.account
    require_own(account, device)
    preferences.lock(account)
    events = _change(
        account,
        blocked.dapp_url,
        {"on": False, "name": blocked.name, "types": []},
        f"{blocked.name}: not blocked",
        device,
    )
    rows = list(_active(account.pk, blocked.dapp_url))
    sent = [
        _request(row, sorted(set(blocked.types) & set(row.scope)), device)
        for row in rows
    ]
    audit(
        "dapp.unblocked",
        device=device,
        account=account,
        subject=blocked.dapp_url[:256],
    )
    record_events(events)
    return all(sent)


def _change(
    account: Account, dapp_url: str, value: JsonObject, note: str, device: Device
) -> list[EventDraft]:
    wanted = preferences.Change(block=value, note=note)
    try:
        return preferences.change(account, {dapp_url: wanted}, device=device)
    except preferences.TooManyPreferences:
        most = settings.LIMITS.preferences_per_account
        raise TooMany(f"An account has preferences for at most {most} dapps.") from None


def apply_blocks(account: Account, values: Mapping[str, JsonValue]) -> list[EventDraft]:
    """Make the rows equal to merged preferences, by dapp URL, whichever device changed them.

    Sends nothing: the device that blocked or unblocked has asked the dapp.
    """
    on: list[BlockedDapp] = []
    off: list[str] = []
    for dapp_url, value in values.items():
        block_value = require_object(value, "block")
        if not block_value["on"]:
            off.append(dapp_url)
            continue
        name = shown_line(block_value.get("name"), max_length=NAME_LENGTH)
        on.append(
            BlockedDapp(
                account=account,
                dapp_url=dapp_url,
                name=name or urlsplit(dapp_url).netloc[:NAME_LENGTH],
                types=block_value.get("types", []),
                created_at=preferences.time_of(block_value["at"]) or clock.now(),
            )
        )
    BlockedDapp.objects.filter(account=account, dapp_url__in=off).delete()
    BlockedDapp.objects.bulk_create(
        on,
        update_conflicts=True,
        unique_fields=["account", "dapp_url"],
        update_fields=["name", "types"],
    )
    return preference_events(account, values)


def preference_events(account: Account, dapp_urls: Collection[str]) -> list[EventDraft]:
    """Events for the subscriptions whose pages show what was muted or blocked."""
    rows = Subscription.objects.active().filter(
        account=account, dapp_url__in=list(dapp_urls)
    )
    return [subscription_event(EventKind.UPDATE, row) for row in rows.order_by("pk")]


def _active(account_id: int, dapp_url: str) -> list[Subscription]:
    found = Subscription.objects.active().select_related("account")
    return list(found.filter(account_id=account_id, dapp_url=dapp_url).order_by("pk"))


def _request(row: Subscription, types: list[str], device: Device) -> bool:
    try:
        update(row, types, device)
    except (SubscriptionRefused, NoIdentityKey):
        return False
    return True
