"""Sending to every subscriber that allows a type: a job in chunks.

The first chunk is sent in the call, so that small projects see the result at once. What
remains is a row that a worker continues: it creates the deliveries of a chunk, and any
number of workers build their messages. Memory stays flat, a kill costs time only, and
owners take turns.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db import transaction

from castserver.models import Broadcast, Subscriber
from castserver.services.notifications.delivery import CHUNK, Addressee
from castserver.services.notifications.notify import (
    Accounts,
    NotifyOutcome,
    audience,
    check_content,
    require_known_type,
    send_to,
    store_notification,
)
from castserver.services.projects.owners import owner_of
from common import clock
from common.failpoints import failpoint
from common.wake import enqueue_on_commit
from common.work_queue import NO_WORK, fresh_work

if TYPE_CHECKING:
    from castserver.models import Notification, Project
    from walletconnect.notify.values import NotifyMessage

SEND_TASK: Final = "castserver.send_broadcasts"
# Deliveries that one transaction creates: 0.1 s of COPY, and few enough that the
# queries for due deliveries stay cheap.
BROADCAST_CHUNK: Final = 10_000
# While the messages of the chunk before are being built.
PAUSE_S: Final = 0.2


def notify_everyone(
    project: Project, message: NotifyMessage, *, notification_id: str = ""
) -> NotifyOutcome:
    """Send to every subscriber that allows the type.

    Returns the outcome of the first ``CHUNK`` subscribers; ``Broadcast`` has the progress
    of the rest. A repeat of ``notification_id`` sends nothing more.
    """
    check_content(message)
    require_known_type(project, message.type)
    with transaction.atomic():
        notification = store_notification(
            project, message, notification_id=notification_id
        )
        broadcast, is_new = Broadcast.objects.get_or_create(
            notification=notification, defaults=fresh_work()
        )
        if not is_new:
            return NotifyOutcome(notification.pk, (), (), ())
        return _send_chunk(broadcast, project, CHUNK)


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
            project, type_id = (
                broadcast.notification.project,
                broadcast.notification.type,
            )
            broadcast.expected = audience(project, type_id).allowing
        with transaction.atomic():
            # Cancelled meanwhile, or taken by another worker.
            if Broadcast.objects.held(broadcast).select_for_update().first():
                _send_chunk(broadcast, broadcast.notification.project, BROADCAST_CHUNK)
        if Broadcast.objects.due().exists():
            enqueue_on_commit(SEND_TASK)
    return len(claimed)


def _send_chunk(broadcast: Broadcast, project: Project, size: int) -> NotifyOutcome:
    """Send to the next subscribers in the order of accounts, and remember where it ended."""
    notification = broadcast.notification
    rows = [
        Addressee._make(row)
        for row in Subscriber.objects.of(project.pk)
        .live(clock.now())
        .filter(scope__contains=[notification.type], account_key__gt=broadcast.cursor)
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
    outcome = send_to(project, notification, found)
    broadcast.sent += len(outcome.sent)
    broadcast.failed += len(outcome.failed)
    if rows:
        broadcast.cursor = rows[-1].account_key
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


def cancel_broadcast(notification: Notification) -> bool:
    """Send no further chunk; False if everything was sent or it was cancelled before."""
    now = clock.now()
    return bool(
        Broadcast.objects.filter(notification=notification, finished_at=None).update(
            finished_at=now, is_cancelled=True, **NO_WORK
        )
    )
