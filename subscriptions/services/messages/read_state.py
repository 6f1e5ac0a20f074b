"""Which notifications a person has read or put away: one state for all devices.

The protocol has no word for it in August 2023, so it lives in the database and reaches
the other browsers as events. Clients of the later generation ask their server, so a server
that speaks it is told what was read here (protocol.md, sections 10.1 and 10.2); the other
way is in ``subscriptions.services.server.remote_reads``. Records of other people are left out
without a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from django.db import transaction

from accounts.services import EventDraft, EventKind, record_events
from common import clock, entropy
from subscriptions.models import NotifyMessageRecord, Subscription
from subscriptions.services.wallet import (
    later_identities,
    message_event,
    notify_keys,
    publish,
)
from walletconnect.crypto.keys import Topic
from walletconnect.notify.read_state import request_mark_read
from walletconnect.notify.watch_claims import MAX_IDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from django.db.models import QuerySet

    from accounts.models import Device
    from walletconnect.crypto.keys import SymKey
    from walletconnect.notify.parties import WalletIdentity
    from walletconnect.notify.values import NotifySubscription
    from walletconnect.relay.messages import Publication

App: TypeAlias = tuple[int, str]
"""An account, and the dapp that it is subscribed to."""

# Beyond this many, browsers are told which subscriptions changed, not which records.
MAX_SINGLE_READS: Final = 50


def mark_read(records: Iterable[NotifyMessageRecord], device: Device) -> int:
    """Mark records as read; how many were not."""
    return _change(
        _own(records, device).filter(read_at=None),
        {"read_at": clock.now(), "read_by": device},
        also=_send_to_servers,
    )


def mark_unread(records: Iterable[NotifyMessageRecord], device: Device) -> int:
    """Mark records as not read; how many were."""
    return _change(
        _own(records, device).exclude(read_at=None), {"read_at": None, "read_by": None}
    )


def archive(records: Iterable[NotifyMessageRecord], device: Device) -> int:
    """Put records away; how many were in the inbox."""
    return _change(
        _own(records, device).filter(archived_at=None), {"archived_at": clock.now()}
    )


def unarchive(records: Iterable[NotifyMessageRecord], device: Device) -> int:
    """Bring records back into the inbox; how many were away."""
    return _change(
        _own(records, device).exclude(archived_at=None), {"archived_at": None}
    )


def _own(
    records: Iterable[NotifyMessageRecord], device: Device
) -> QuerySet[NotifyMessageRecord]:
    if not device.is_active():
        return NotifyMessageRecord.objects.none()
    return NotifyMessageRecord.objects.filter(
        pk__in=[record.pk for record in records],
        subscription__account__user_id=device.user_id,
    )


@transaction.atomic
def _change(
    rows: QuerySet[NotifyMessageRecord],
    values: dict[str, object],
    *,
    also: Callable[[list[int]], None] | None = None,
) -> int:
    locked = rows.select_for_update(of=("self",)).order_by("pk")
    found = list(
        locked.values_list("pk", "subscription_id", "subscription__account_id")
    )
    if not found:
        return 0
    NotifyMessageRecord.objects.filter(pk__in=[pk for pk, _, _ in found]).update(
        **values
    )
    if also is not None:
        also([pk for pk, _, _ in found])
    record_events(read_events(found))
    return len(found)


def read_events(found: Sequence[tuple[int, int, int]]) -> list[EventDraft]:
    """For records, their subscriptions and accounts: whose read state changed."""
    if len(found) <= MAX_SINGLE_READS:
        return [
            message_event(EventKind.READ, account_id, pk) for pk, _, account_id in found
        ]
    owners = {owner: account_id for _, owner, account_id in found}
    return [
        EventDraft(account_id, EventKind.READ, f"subscriptions.subscription:{owner}")
        for owner, account_id in owners.items()
    ]


# --- telling the server ---------------------------------------------------------------


def _send_to_servers(record_pks: list[int]) -> None:
    send_read_state(NotifyMessageRecord.objects.filter(pk__in=record_pks))


def send_read_state(records: QuerySet[NotifyMessageRecord]) -> None:
    """Say what was read, to each server that knows the word and was not told before.

    A notification may have come on an older topic: the server is told on the one where
    it lists the account now. What nobody can tell now, is told with a later list.
    """
    ids: dict[App, dict[int, str]] = {}
    found = (
        records.select_for_update(of=("self",))
        .exclude(read_at=None)
        .exclude(notification_id="")
        .filter(read_there_at=None)
        .order_by("pk")
        .values_list(
            "subscription__account_id",
            "subscription__dapp_url",
            "pk",
            "notification_id",
        )
    )
    for account_id, dapp_url, pk, notification_id in found:
        ids.setdefault((account_id, dapp_url), {})[pk] = notification_id
    told = _signing_devices(ids)
    publish(
        publication
        for row, (sym_key, wallet) in told.items()
        for publication in _marks(
            row.with_key(sym_key),
            wallet,
            dapp_did=row.dapp_authentication_did,
            ids=list(ids[row.account_id, row.dapp_url].values()),
        )
    )
    pks = [pk for row in told for pk in ids[row.account_id, row.dapp_url]]
    NotifyMessageRecord.objects.filter(pk__in=pks).update(read_there_at=clock.now())


def _signing_devices(
    apps: Collection[App],
) -> dict[Subscription, tuple[SymKey, WalletIdentity]]:
    """The subscriptions on whose topics servers can be told now, and by whom."""
    rows = list(
        Subscription.objects.active()
        .select_related("account")
        .filter(
            account_id__in={account_id for account_id, _ in apps},
            dapp_url__in={dapp_url for _, dapp_url in apps},
            listed_by__isnull=False,
        )
        .exclude(dapp_authentication_did="")
        .order_by("pk")
    )
    # Of two topics at one dapp the newer one.
    listed = {(row.account_id, row.dapp_url): row for row in rows}
    keys = notify_keys(listed.values())
    wallets = later_identities(row.account for row in listed.values())
    return {
        row: (keys[Topic(row.topic)], wallets[row.account_id])
        for app, row in listed.items()
        if app in apps and Topic(row.topic) in keys and row.account_id in wallets
    }


def _marks(
    subscription: NotifySubscription,
    wallet: WalletIdentity,
    *,
    dapp_did: str,
    ids: Sequence[str],
) -> Iterator[Publication]:
    for start in range(0, len(ids), MAX_IDS):
        yield request_mark_read(
            subscription,
            wallet,
            ids=ids[start : start + MAX_IDS],
            dapp_did=dapp_did,
            request_id=clock.payload_id(),
            iv=entropy.iv(),
            now=clock.now_s(),
        )
