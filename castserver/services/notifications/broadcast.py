"""Sending to many accounts: a job in chunks, at once or at a set time.

The first chunk is sent in the call, so that small projects see the result at once. What
remains is a row that a worker continues: it creates the deliveries of a chunk, and any
number of workers build their messages. Memory stays flat, a kill costs time only, and
owners take turns. A scheduled notification is the same row, due at its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction

from accounts.services import audit
from castserver.models import (
    Broadcast,
    Notification,
    Recipient,
    RecipientList,
    Subscriber,
    Undelivered,
)
from castserver.services.errors import Invalid, TooMany
from castserver.services.notifications.delivery import CHUNK, Addressee
from castserver.services.notifications.notify import (
    Accounts,
    NotifyOutcome,
    audience,
    check_content,
    find_accounts,
    require_known_type,
    send_to,
    store_notification,
)
from castserver.services.notifications.recipients import keep_accounts
from castserver.services.projects.owners import owner_of
from common import clock
from common.failpoints import failpoint
from common.wake import enqueue_on_commit
from common.work_queue import NO_WORK, fresh_work

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from castserver.models import Project
    from castserver.models.subscribers import SubscriberQuerySet
    from common.work_queue import WorkQuerySet
    from walletconnect.notify.values import NotifyMessage

SEND_TASK: Final = "castserver.send_broadcasts"
# Deliveries that one transaction creates: 0.1 s of COPY, and few enough that the
# queries for due deliveries stay cheap.
BROADCAST_CHUNK: Final = 10_000
# While the messages of the chunk before are being built.
PAUSE_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a notification goes to: these accounts, a list, or every subscriber."""

    accounts: Sequence[str] | None = None
    recipients: RecipientList | None = None
    # Of every subscriber, only those who also allow this type.
    also_type: str = ""


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to send, and the time zone in which the owner entered it."""

    at: datetime
    time_zone: str = "UTC"


EVERYONE: Final = Target()


def notify_everyone(
    project: Project, message: NotifyMessage, *, notification_id: str = ""
) -> NotifyOutcome:
    """Send to every subscriber that allows the type."""
    return broadcast_to(project, message, EVERYONE, notification_id=notification_id)


def broadcast_to(
    project: Project,
    message: NotifyMessage,
    target: Target,
    *,
    notification_id: str = "",
    schedule: Schedule | None = None,
) -> NotifyOutcome:
    """Send to a target, at once or later.

    Returns the outcome of the first ``CHUNK`` accounts; ``Broadcast`` has the progress
    of the rest. A repeat of ``notification_id`` sends nothing more.
    """
    check_content(message)
    require_known_type(project, message.type)
    with transaction.atomic():
        notification = store_notification(
            project, message, notification_id=notification_id
        )
        if Broadcast.objects.filter(notification=notification).exists():
            return NotifyOutcome(notification.pk, (), (), ())
        broadcast = Broadcast(
            notification=notification,
            also_type=target.also_type,
            recipients=target.recipients,
            **fresh_work(),
        )
        if target.accounts is not None:
            broadcast.recipients = keep_accounts(project, target.accounts)
        if broadcast.recipients is not None:
            broadcast.audience = Broadcast.Audience.RECIPIENTS
        if schedule is None:
            broadcast.save(force_insert=True)
            return _send_chunk(broadcast, project, CHUNK)
        most = settings.LIMITS.scheduled_per_project
        if scheduled(project).count() >= most:
            raise TooMany(f"a project has at most {most} scheduled notifications")
        broadcast.scheduled_for = broadcast.next_attempt_at = schedule.at
        broadcast.time_zone = schedule.time_zone
        broadcast.save(force_insert=True)
        audit(
            "project.scheduled",
            subject=project.pk,
            detail=str(schedule.at),
            by_caller=True,
        )
        return NotifyOutcome(notification.pk, (), (), ())


def scheduled(project: Project) -> WorkQuerySet[Broadcast]:
    """Notifications that are to be sent later, the next one first."""
    found = Broadcast.objects.filter(
        notification__project=project,
        scheduled_for__isnull=False,
        started_at=None,
        finished_at=None,
    )
    return found.order_by("scheduled_for")


def retry_failed(notification: Notification) -> bool:
    """Send to the accounts that it did not reach; False while it is being sent.

    Accounts that fail again are reported again, each once.
    """
    with transaction.atomic():
        Notification.objects.select_for_update().get(pk=notification.pk)
        if not notification.undelivered.exists():
            raise Invalid("no account is left to retry")
        broadcast = (
            Broadcast.objects.filter(notification=notification).first()
            # Of a call that named its accounts.
            or Broadcast(notification=notification, finished_at=clock.now())
        )
        if broadcast.finished_at is None:
            return False
        broadcast.audience = Broadcast.Audience.RETRY
        broadcast.cursor = ""
        broadcast.expected = broadcast.finished_at = None
        broadcast.sent = broadcast.failed = 0
        for name, value in fresh_work().items():
            setattr(broadcast, name, value)
        broadcast.save()
        _send_chunk(broadcast, notification.project, CHUNK)
    return True


def send_due_broadcasts() -> int:
    """Send one chunk of the next due broadcast; returns how many there were."""
    due = Broadcast.objects.annotate(owner=owner_of("notification__project"))
    claimed = due.select_related("notification__project").claim(1, owner="owner")
    for broadcast in claimed:
        if broadcast.notification.due.exists():
            broadcast.put_off(clock.now() + timedelta(seconds=PAUSE_S), "", attempts=0)
            enqueue_on_commit(SEND_TASK, delay_s=PAUSE_S)
            continue
        if broadcast.expected is None:
            broadcast.expected = _expected(broadcast)
        with transaction.atomic():
            # Cancelled meanwhile, or taken by another worker.
            if Broadcast.objects.held(broadcast).select_for_update().first():
                _send_chunk(broadcast, broadcast.notification.project, BROADCAST_CHUNK)
        if Broadcast.objects.due().exists():
            enqueue_on_commit(SEND_TASK)
    return len(claimed)


def _expected(broadcast: Broadcast) -> int:
    """How many accounts it is for, for the progress bar."""
    if broadcast.audience == Broadcast.Audience.RETRY:
        return broadcast.processed + broadcast.notification.undelivered.count()
    if broadcast.recipients is not None:
        return broadcast.recipients.size
    notification = broadcast.notification
    return audience(
        notification.project, notification.type, also_type=broadcast.also_type
    ).allowing


def _send_chunk(broadcast: Broadcast, project: Project, size: int) -> NotifyOutcome:
    """Send to the next accounts in their order, and remember where it ended."""
    notification = broadcast.notification
    if broadcast.started_at is None:
        broadcast.started_at = clock.now()
        if broadcast.scheduled_for is not None:
            # Lists are ordered by the time of sending.
            Notification.objects.filter(pk=notification.pk).update(
                created_at=broadcast.started_at
            )
    found, cursor, is_last = _next_accounts(broadcast, project, size)
    outcome = send_to(
        project,
        notification,
        found,
        is_repeat=broadcast.audience == Broadcast.Audience.RETRY,
    )
    broadcast.sent += len(outcome.sent)
    broadcast.failed += len(outcome.failed) + len(outcome.not_found)
    broadcast.cursor = cursor
    for name, value in NO_WORK.items():
        setattr(broadcast, name, value)
    broadcast.attempts = 0
    if is_last:
        broadcast.finished_at = clock.now()
    else:
        broadcast.next_attempt_at = clock.now()
        enqueue_on_commit(SEND_TASK)
    broadcast.save()
    failpoint("broadcast.before_commit")
    return outcome


def _next_accounts(
    broadcast: Broadcast, project: Project, size: int
) -> tuple[Accounts, str, bool]:
    """The accounts behind the cursor, the cursor behind them, and whether they are the last."""
    notification, cursor = broadcast.notification, broadcast.cursor
    if broadcast.audience == Broadcast.Audience.EVERYONE:
        found = subscribers_of(project, notification.type, broadcast.also_type)
        return next_subscribers(found, cursor, size)
    if broadcast.audience == Broadcast.Audience.RECIPIENTS:
        rows = list_accounts(broadcast.recipients_id, cursor, size)
        last = rows[-1][0] if rows else cursor
        texts = [account for _, account in rows]
        return find_accounts(project, notification.type, texts), last, len(rows) < size
    left = Undelivered.objects.filter(notification=notification, account__gt=cursor)
    texts = list(left.order_by("account").values_list("account", flat=True)[:size])
    notification.undelivered.filter(account__in=texts).delete()
    last = texts[-1] if texts else cursor
    return find_accounts(project, notification.type, texts), last, len(texts) < size


def list_accounts(
    recipients_id: UUID | None, cursor: str, size: int
) -> list[tuple[str, str]]:
    """Account key and account of the next accounts of a list."""
    rows = Recipient.objects.filter(recipients_id=recipients_id, account_key__gt=cursor)
    return list(
        rows.order_by("account_key").values_list("account_key", "account")[:size]
    )


def subscribers_of(
    project: Project, type_id: str, also_type: str
) -> SubscriberQuerySet:
    types = [type_id, also_type] if also_type else [type_id]
    live = Subscriber.objects.of(project.pk).live(clock.now())
    return live.filter(scope__contains=types)


def next_subscribers(
    subscribers: SubscriberQuerySet, cursor: str, size: int
) -> tuple[Accounts, str, bool]:
    rows = [
        Addressee._make(row)
        for row in subscribers.filter(account_key__gt=cursor)
        .order_by("account_key", "id")
        .values_list(*Addressee._fields)[:size]
    ]
    is_last = len(rows) < size
    if not is_last:
        # The last account may have more topics than fitted: it begins the next chunk.
        last = rows[-1].account_key
        rows = [row for row in rows if row.account_key != last] or rows
    found = Accounts()
    for row in rows:
        # An account with several topics is reported as its newest one names it.
        found.written[row.account_key] = [row.account]
        found.add_subscriber(row, allows=True)
    return found, rows[-1].account_key if rows else cursor, is_last


def cancel_broadcast(notification: Notification) -> bool:
    """Send no further chunk; False if everything was sent or it was cancelled before."""
    now = clock.now()
    return bool(
        Broadcast.objects.filter(notification=notification, finished_at=None).update(
            finished_at=now, is_cancelled=True, **NO_WORK
        )
    )
