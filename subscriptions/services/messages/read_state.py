"""Which notifications a person has read, archived or deleted: one state for all devices.

Protocol v0 has no message for it, so it is stored in the database and reaches the other
browsers as events. In protocol v1 the server keeps it, so servers of v1 receive what was
read here; the other direction is in ``subscriptions.services.server.remote_reads``. Records
of other users are silently left out.

A query set may name any number of records: it is evaluated in the database. All records of
one call get the same time, by which the call can be undone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from accounts.services import EventDraft, EventKind, record_events
from common import clock, entropy, retention
from common.work_queue import in_batches
from subscriptions.models import DappDocument, NotifyMessageRecord, Subscription
from subscriptions.services.wallet import (
    message_event,
    notify_keys,
    publish,
    v1_identities,
)
from walletconnect.crypto.keys import Topic
from walletconnect.notify.read_state import request_mark_read
from walletconnect.notify.watch_claims import MAX_IDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from accounts.models import Device
    from walletconnect.relay.messages import Publication

App: TypeAlias = tuple[int, str]
"""An account, and the dapp that it is subscribed to."""

# Above this, events name the changed subscriptions instead of single records: a browser
# reloads a list faster than it patches hundreds of rows.
MAX_SINGLE_READS: Final = 50

# Longer than any page offers to undo a deletion.
RESTORABLE_FOR: Final = timedelta(hours=1)
# Archives keep notifications for months; afterwards a replay cannot bring one back.
TOMBSTONES_FOR: Final = timedelta(days=365)
PRUNE_BATCH_SIZE: Final = 1_000
# One event for each, so that the rows appear on open pages; not a reload for each.
WAKE_BATCH_SIZE: Final = MAX_SINGLE_READS


def mark_read(
    records: Iterable[NotifyMessageRecord],
    device: Device,
    at: datetime | None = None,
) -> int:
    """Mark records as read; returns how many were unread."""
    return _change(
        _own(records, device).filter(read_at=None),
        {"read_at": at or clock.now(), "read_by": device},
        also=lambda pks: send_read_state(
            NotifyMessageRecord.objects.filter(pk__in=pks)
        ),
    )


def mark_unread(records: Iterable[NotifyMessageRecord], device: Device) -> int:
    """Mark records as unread; returns how many were read."""
    return _change(
        _own(records, device).exclude(read_at=None), {"read_at": None, "read_by": None}
    )


def archive(
    records: Iterable[NotifyMessageRecord],
    device: Device,
    at: datetime | None = None,
) -> int:
    """Archive records; returns how many were in the inbox."""
    return _change(
        _own(records, device).filter(archived_at=None),
        {"archived_at": at or clock.now(), "snoozed_until": None},
    )


def unarchive(records: Iterable[NotifyMessageRecord], device: Device) -> int:
    """Move records back into the inbox; returns how many were archived."""
    return _change(
        _own(records, device).exclude(archived_at=None), {"archived_at": None}
    )


def snooze(
    records: Iterable[NotifyMessageRecord], device: Device, until: datetime
) -> int:
    """Take records out of the inbox until then; returns how many."""
    return _change(
        _own(records, device).filter(archived_at=None), {"snoozed_until": until}
    )


def unsnooze(records: Iterable[NotifyMessageRecord], device: Device) -> int:
    """Return records to the inbox as they were; returns how many were snoozed."""
    return _change(
        _own(records, device).filter(snoozed_until__isnull=False),
        {"snoozed_until": None},
    )


@in_batches
@transaction.atomic
def wake_snoozed() -> int:
    """Return records to the inbox, as unread, whose time has come; returns how many."""
    due = (
        NotifyMessageRecord.objects.kept()
        .select_for_update(of=("self",), skip_locked=True)
        .filter(snoozed_until__lte=clock.now())
        .order_by("snoozed_until")[:WAKE_BATCH_SIZE]
    )
    found = list(due.values_list("pk", "subscription_id", "subscription__account_id"))
    NotifyMessageRecord.objects.filter(pk__in=[pk for pk, _, _ in found]).update(
        snoozed_until=None, read_at=None, read_by=None
    )
    record_events(read_events(found))
    return len(found)


def delete(
    records: Iterable[NotifyMessageRecord],
    device: Device,
    at: datetime | None = None,
) -> int:
    """Delete records; returns how many. ``restore`` undoes it until the next prune."""
    return _change(_own(records, device), {"deleted_at": at or clock.now()})


def restore(records: Iterable[NotifyMessageRecord], device: Device) -> int:
    """Undo ``delete``; returns how many were deleted and still have their content."""
    recent = _own(records, device, deleted=True).filter(
        deleted_at__gt=clock.now() - RESTORABLE_FOR
    )
    return _change(recent, {"deleted_at": None})


def _own(
    records: Iterable[NotifyMessageRecord], device: Device, *, deleted: bool = False
) -> QuerySet[NotifyMessageRecord]:
    if not device.is_active():
        return NotifyMessageRecord.objects.none()
    own = NotifyMessageRecord.objects.filter(
        subscription__account__user_id=device.user_id,
        deleted_at__isnull=not deleted,
    )
    if isinstance(records, QuerySet):
        return own.filter(pk__in=records.values("pk"))
    return own.filter(pk__in=[record.pk for record in records])


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
    """Events for (record, subscription, account) triples whose read state changed."""
    if len(found) <= MAX_SINGLE_READS:
        return [
            message_event(EventKind.READ, account_id, pk) for pk, _, account_id in found
        ]
    owners = {owner: account_id for _, owner, account_id in found}
    return [
        EventDraft(account_id, EventKind.READ, f"subscriptions.subscription:{owner}")
        for owner, account_id in owners.items()
    ]


# --- deleted for good -----------------------------------------------------------------


def prune_deleted() -> int:
    """Empty what was deleted before the time to restore it, and drop what is old."""
    return retention.prune_tables(
        "subscriptions.prune_deleted",
        _empty_batch,
        _drop_batch,
        _drop_batch_of_ended,
        _drop_unused_documents,
    )


def _empty_batch() -> int:
    over = NotifyMessageRecord.objects.filter(
        deleted_at__lte=clock.now() - RESTORABLE_FOR
    ).exclude(message_auth="")
    return NotifyMessageRecord.objects.filter(
        pk__in=over.values("pk")[:PRUNE_BATCH_SIZE]
    ).update(title="", body="", icon="", url="", message_auth="", type="")


def _drop_batch() -> int:
    over = NotifyMessageRecord.objects.filter(
        deleted_at__lte=clock.now() - TOMBSTONES_FOR
    )
    count, _ = NotifyMessageRecord.objects.filter(
        pk__in=list(over.values_list("pk", flat=True)[:PRUNE_BATCH_SIZE])
    ).delete()
    return count


def _drop_batch_of_ended() -> int:
    """Notifications of subscriptions that are about to be deleted."""
    before = retention.cutoff("keep_ended_subscriptions_days")
    if before is None:
        return 0
    ended = (
        Subscription.objects.filter(deleted_at__lte=before)
        .exclude(messages=None)
        .order_by("deleted_at")
        .values_list("pk", flat=True)
    )
    found = NotifyMessageRecord.objects.filter(subscription__in=list(ended[:1]))
    pks = list(found.values_list("pk", flat=True)[:PRUNE_BATCH_SIZE])
    return NotifyMessageRecord.objects.filter(pk__in=pks).delete()[0]


def _drop_unused_documents() -> int:
    """Documents of dapps without a subscription; those of others are read again daily."""
    before = retention.cutoff("keep_unused_documents_days")
    if before is None:
        return 0
    used = Subscription.objects.filter(dapp_url=OuterRef("url"))
    old = (
        DappDocument.objects.filter(~Exists(used), checked_at__lte=before)
        .order_by("checked_at")
        .values_list("pk", flat=True)
    )
    return DappDocument.objects.filter(pk__in=list(old[:PRUNE_BATCH_SIZE])).delete()[0]


# --- servers of protocol v1 -----------------------------------------------------------


def send_read_state(records: QuerySet[NotifyMessageRecord]) -> None:
    """Send what was read to each v1 server that has not received it yet.

    A notification may have come on an older topic: the request is sent on the topic where
    the server lists the account now. What cannot be sent now, for want of a key or a
    signing identity, is sent with a later list.
    """
    ids: dict[App, dict[int, str]] = {}
    found = (
        records.select_for_update(of=("self",))
        .exclude(read_at=None)
        .exclude(notification_id="")
        .filter(server_read_at=None)
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
    rows = (
        Subscription.objects.active()
        .select_related("account")
        .filter(
            account_id__in={account_id for account_id, _ in ids},
            dapp_url__in={dapp_url for _, dapp_url in ids},
            listed_by__isnull=False,
        )
        .exclude(dapp_authentication_did="")
        .order_by("pk")
    )
    # Of two topics at one dapp the newer one.
    listed = {(row.account_id, row.dapp_url): row for row in rows}
    keys = notify_keys(listed.values())
    wallets = v1_identities(row.account for row in listed.values())
    sent: list[int] = []
    publications: list[Publication] = []
    for app, by_pk in ids.items():
        row = listed.get(app)
        sym_key = keys.get(Topic(row.topic)) if row else None
        wallet = wallets.get(row.account_id) if row else None
        if row is None or sym_key is None or wallet is None:
            continue
        sent += by_pk
        of_app = list(by_pk.values())
        publications += [
            request_mark_read(
                row.with_key(sym_key),
                wallet,
                ids=of_app[start : start + MAX_IDS],
                dapp_did=row.dapp_authentication_did,
                request_id=clock.payload_id(),
                iv=entropy.iv(),
                now=clock.now_s(),
            )
            for start in range(0, len(of_app), MAX_IDS)
        ]
    publish(publications)
    NotifyMessageRecord.objects.filter(pk__in=sent).update(server_read_at=clock.now())
