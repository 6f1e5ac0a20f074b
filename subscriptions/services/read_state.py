"""Which notifications a person has read or put away: one state for all devices.

The protocol has no word for it in August 2023, so it lives in the database and reaches
the other browsers as events. Records of other people are left out without a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import transaction

from accounts.services import EventDraft, record_events
from groundwork import clock
from subscriptions.models import NotifyMessageRecord
from subscriptions.services.wallet import READ, message_event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet

    from accounts.models import Device

# Beyond this many, browsers are told which subscriptions changed, not which records.
TOLD_ONE_BY_ONE: Final = 50


def mark_read(records: Iterable[NotifyMessageRecord], device: Device) -> int:
    """Mark records as read; how many were not."""
    return _change(
        _own(records, device).filter(read_at=None),
        {"read_at": clock.now(), "read_by": device},
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
def _change(rows: QuerySet[NotifyMessageRecord], values: dict[str, object]) -> int:
    locked = rows.select_for_update(of=("self",)).order_by("pk")
    found = list(
        locked.values_list("pk", "subscription_id", "subscription__account_id")
    )
    if not found:
        return 0
    NotifyMessageRecord.objects.filter(pk__in=[pk for pk, _, _ in found]).update(
        **values
    )
    record_events(_events(found))
    return len(found)


def _events(found: list[tuple[int, int, int]]) -> list[EventDraft]:
    if len(found) <= TOLD_ONE_BY_ONE:
        return [message_event(READ, account_id, pk) for pk, _, account_id in found]
    owners = {owner: account_id for _, owner, account_id in found}
    return [
        EventDraft(account_id, READ, f"subscriptions.subscription:{owner}")
        for owner, account_id in owners.items()
    ]
