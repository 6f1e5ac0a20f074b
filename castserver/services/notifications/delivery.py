"""Deliveries: rows, and the messages that are built for them in batches.

A delivery and its message are written in one transaction. Of a large call, a row of
``DueDeliveries`` per chunk lists the due subscribers; the transaction that builds the chunk deletes
the row, so a process that dies in between loses nothing and sends nothing twice.

Figures (docs/performance.md): a message costs 49 us to build because the claims that are
the same for all receivers are encoded once, and all keys are read in one query.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby, repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Min

from castserver.models import DueDeliveries, Subscriber
from castserver.services.notifications.ids import rpc_ids, time_ordered_ids
from castserver.services.projects.owners import owner_of
from castserver.services.publications import publish_all
from common import clock, counters, entropy, histograms
from common.failpoints import failpoint
from common.wake import enqueue_on_commit
from keychain.services import Holder, signing_key, sym_keys
from walletconnect.identity.did import AccountId
from walletconnect.notify.message import MessageBatch, Recipient

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from castserver.models import Notification, Project
    from walletconnect.relay.messages import Publication

# Messages that one transaction builds: 0.1 s of work, so that a call which waits for the
# same worker or row locks is not delayed noticeably, and that workers get equal shares of
# what one worker would build in a second.
CHUNK: Final = 500
SEND_TASK: Final = "castserver.send_deliveries"

# COPY instead of bulk_create: the model instances alone would cost more than the rows.
_COPY: Final = """
COPY castserver_delivery
    (id, notification_id, subscriber_id, rpc_id, created_at, sent_at, open_count)
FROM STDIN
"""


class Addressee(NamedTuple):
    """The columns of a subscriber that a message is built from.

    A named tuple instead of a model instance: a call may read ten thousand of them.
    """

    pk: int
    account_key: str
    account: str
    topic: str
    app: str
    subscription_hash: str

    @classmethod
    def of(cls, subscriber: Subscriber) -> Addressee:
        return cls(*(getattr(subscriber, name) for name in cls._fields))


class DueDelivery(NamedTuple):
    """A delivery whose message is to be built."""

    pk: UUID
    rpc_id: int
    subscriber: Addressee


def deliver(
    project: Project, notification: Notification, subscribers: Sequence[Addressee]
) -> set[str]:
    """Create the deliveries of a notification, in the caller's transaction.

    Up to ``CHUNK`` messages are built at once; more are left to tasks. Returns the
    account keys that get the notification: all but those whose key P cannot be opened.
    """
    now = clock.now()
    if len(subscribers) <= CHUNK:
        delivered = _deliver_now(project, notification, subscribers, accepted_at=now)
        return {each.account_key for each in delivered}
    DueDeliveries.objects.bulk_create(
        DueDeliveries(
            notification=notification,
            subscribers=[each.pk for each in subscribers[start : start + CHUNK]],
            created_at=now,
        )
        for start in range(0, len(subscribers), CHUNK)
    )
    enqueue_on_commit(SEND_TASK)
    return {each.account_key for each in subscribers}


def _deliver_now(
    project: Project,
    notification: Notification,
    subscribers: Sequence[Addressee],
    *,
    accepted_at: datetime,
) -> list[Addressee]:
    """Build the messages of these; returns who has one, which takes a readable key P."""
    count = len(subscribers)
    if not count:
        return []
    due = [
        DueDelivery(*each)
        for each in zip(
            time_ordered_ids(count), rpc_ids(count), subscribers, strict=True
        )
    ]
    published = _publish(project, notification, due)
    due = [each for each in due if each.pk in published]
    now = clock.now()
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        for pk, rpc_id, subscriber in due:
            copy.write_row((pk, notification.pk, subscriber.pk, rpc_id, now, now, 0))
    duration = (now - accepted_at).total_seconds()
    histograms.observe("notification", {"sent": repeat(duration, len(due))})
    return [each.subscriber for each in due]


def _publish(
    project: Project, notification: Notification, due: Sequence[DueDelivery]
) -> set[UUID]:
    """Put the messages in the outbox, in the caller's transaction.

    Returns the deliveries that have a message; without its key P a delivery has none.
    """
    keys = {
        str(topic): key
        for topic, key in sym_keys(
            Holder.CAST, [each.subscriber.topic for each in due]
        ).items()
    }
    signer = signing_key(Holder.CAST, project.authentication_did)
    message = notification.message
    counts_clicks = project.counts_clicks and bool(message.url)
    messages: dict[UUID, Publication] = {}

    # Claims that are not the receiver's own depend on the claim `app`.
    app_of = attrgetter("subscriber.app")
    readable = [each for each in due if each.subscriber.topic in keys]
    for app, group in groupby(sorted(readable, key=app_of), key=app_of):
        times = {"now": clock.now_s(), "sent_at": clock.now_ms()}
        batch = MessageBatch.create(message, signer, app=app, **times)
        for each in group:
            if counts_clicks:
                # A link of its own for every receiver: nothing is shared in the batch.
                batch = MessageBatch.create(
                    replace(message, url=counted_link(each.pk)),
                    signer,
                    app=app,
                    **times,
                )
            recipient = Recipient(
                account=AccountId.parse(each.subscriber.account),
                sym_key=keys[each.subscriber.topic],
                request_id=each.rpc_id,
                subscription_hash=each.subscriber.subscription_hash,
                notification_id=str(each.pk),
            )
            messages[each.pk] = batch.publication(recipient, iv=entropy.iv())
    publish_all(messages.values())
    counters.count("notifications", {"sent": len(messages)})
    failpoint("notify.before_commit")
    return set(messages)


def counted_link(delivery_id: UUID) -> str:
    """The link of one delivery that counts and redirects to the notification's link."""
    return f"{settings.CAST_API_URL}/v1/notification/{delivery_id}"


# --- large calls: chunks, by tasks ----------------------------------------------------


def send_deliveries(notification_id: str) -> int:
    """Build one chunk of a notification's due messages; returns how many were due.

    Subscribers that ended since the call get nothing.
    """
    with transaction.atomic():
        chunk = (
            DueDeliveries.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("notification__project")
            .filter(notification_id=notification_id)
            .order_by("id")
            .first()
        )
        if chunk is None:
            return 0
        notification = chunk.notification
        live = [
            Addressee._make(row)
            for row in Subscriber.objects.live(clock.now())
            .filter(pk__in=chunk.subscribers)
            .values_list(*Addressee._fields)
        ]
        _deliver_now(
            notification.project, notification, live, accepted_at=chunk.created_at
        )
        chunk.delete()
    return len(chunk.subscribers)


def due_subscribers(notification: Notification) -> set[int]:
    """Who gets the notification, but has no delivery yet."""
    rows = notification.due.values_list("subscribers", flat=True)
    return {pk for row in rows for pk in row}


def send_due_chunk() -> int:
    """Build one chunk of the due messages of any project; returns how many were due.

    The project owner is chosen at random, so that one who notifies a million accounts
    delays the others by a chunk at a time. Of one owner, the oldest notification is first.
    """
    waiting = list(
        DueDeliveries.objects.annotate(owner=owner_of("notification__project"))
        .values("owner", "notification_id")
        .annotate(oldest=Min("id"), count=Count("id"))
        .order_by("oldest")
    )
    if not waiting:
        return 0
    if sum(each["count"] for each in waiting) > 1:
        # Before the work, so that another process builds the next chunk meanwhile.
        enqueue_on_commit(SEND_TASK)
    owner = entropy.choice(sorted({each["owner"] for each in waiting}))
    oldest = next(each for each in waiting if each["owner"] == owner)
    count = send_deliveries(str(oldest["notification_id"]))
    # With 0 another worker holds the last ones, and enqueues this task after them.
    if count and DueDeliveries.objects.exists():
        enqueue_on_commit(SEND_TASK)
    return count
