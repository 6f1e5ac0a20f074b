"""The notification channel that fills the queues of pushes and forwards.

Runs in the transaction that stores the notification (docs/channels.md): rows only, and a
fixed number of queries however many events there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from accounts.channels import Channel
from accounts.models import EventKind
from alerts.models import (
    AlertSettings,
    Forward,
    ForwardDelivery,
    PushDelivery,
    PushSubscription,
)
from alerts.services import forwarding, webpush
from alerts.services.preferences import active_mutes, end_of_quiet, is_muted
from common import clock
from common.wake import enqueue_on_commit
from common.work_queue import NO_WORK
from subscriptions.models import NotifyMessageRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from accounts.channels import UserEvents

MESSAGE_SUBJECT: Final = "subscriptions.notifymessagerecord:"
SUBSCRIPTION_SUBJECT: Final = "subscriptions.subscription:"


class Alerts(Channel):
    """Queues what arrived, and withdraws what was read."""

    name = "alerts"
    kinds = frozenset({EventKind.MESSAGE, EventKind.READ})

    def deliver(self, batches: Sequence[UserEvents]) -> None:
        user_ids = [batch.user_id for batch in batches]
        devices = PushSubscription.objects.filter(device__user_id__in=user_ids)
        pushes = list(devices.values_list("device__user_id", "pk"))
        forwards = list(
            Forward.objects.filter(user_id__in=user_ids, disabled_at=None).values_list(
                "user_id", "pk"
            )
        )
        if not pushes and not forwards:
            return
        arrived: list[str] = []
        read: list[str] = []
        for batch in batches:
            for event in batch.events:
                kinds = arrived if event.kind == EventKind.MESSAGE else read
                kinds.append(event.subject)
        if arrived:
            _queue(_keys(arrived, MESSAGE_SUBJECT), pushes, forwards)
        if read and pushes:
            _withdraw(_keys(read, MESSAGE_SUBJECT), _keys(read, SUBSCRIPTION_SUBJECT))


def _keys(subjects: Sequence[str], prefix: str) -> list[int]:
    return [
        int(each.removeprefix(prefix)) for each in subjects if each.startswith(prefix)
    ]


def _queue(
    message_ids: list[int],
    pushes: list[tuple[int, int]],
    forwards: list[tuple[int, UUID]],
) -> None:
    now = clock.now()
    rows = list(
        NotifyMessageRecord.objects.filter(
            pk__in=message_ids, read_at=None
        ).values_list(
            "pk",
            "type",
            "subscription__dapp_url",
            "subscription__account_id",
            "subscription__account__user_id",
        )
    )
    mutes = active_mutes(account_id for *_, account_id, _ in rows)
    users = {user_id for *_, user_id in rows}
    quiet: dict[int, datetime | None] = {
        each.user_id: end_of_quiet(each, now)
        for each in AlertSettings.objects.filter(user_id__in=users)
    }
    audible = [
        (pk, user_id)
        for pk, type_, dapp_url, account_id, user_id in rows
        if not is_muted(mutes, account_id, dapp_url, type_)
    ]
    queued_pushes = [
        PushDelivery(
            subscription_id=subscription_id,
            message_id=pk,
            is_silent=quiet.get(user_id) is not None,
            next_attempt_at=quiet.get(user_id) or now,
            created_at=now,
        )
        for pk, user_id in audible
        for owner_id, subscription_id in pushes
        if owner_id == user_id
    ]
    queued_forwards = [
        ForwardDelivery(
            forward_id=forward_id,
            message_id=pk,
            next_attempt_at=quiet.get(user_id) or now,
            created_at=now,
        )
        for pk, user_id in audible
        for owner_id, forward_id in forwards
        if owner_id == user_id
    ]
    # A notification is recorded once, but a restored backup may announce it again.
    PushDelivery.objects.bulk_create(queued_pushes, ignore_conflicts=True)
    ForwardDelivery.objects.bulk_create(queued_forwards, ignore_conflicts=True)
    if queued_pushes:
        enqueue_on_commit(webpush.SEND_TASK)
    if queued_forwards:
        enqueue_on_commit(forwarding.SEND_TASK)


def _withdraw(message_ids: list[int], subscription_ids: list[int]) -> None:
    shown = PushDelivery.objects.filter(state=PushDelivery.State.SHOWN)
    changes = {
        **NO_WORK,
        "state": PushDelivery.State.WITHDRAW,
        "next_attempt_at": clock.now(),
        "attempts": 0,
    }
    count = 0
    if message_ids:
        count += shown.filter(message_id__in=message_ids).update(**changes)
    if subscription_ids:
        count += shown.filter(message__subscription_id__in=subscription_ids).update(
            **changes
        )
    if count:
        enqueue_on_commit(webpush.SEND_TASK)
