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
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from castserver.services.notifications.ids import rpc_ids, time_ordered_ids
from castserver.services.publications import publish_all
from common import clock, counters, entropy, histograms
from common.failpoints import failpoint
from common.wake import enqueue_on_commit
from keychain.services import Holder, signing_key, sym_keys
from walletconnect.crypto.keys import Topic
from walletconnect.identity.did import AccountId
from walletconnect.notify.message import MessageBatch, Recipient
from walletconnect.notify.values import CONTENT_FIELDS, NotifyMessage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from castserver.models import Notification, Project, Subscriber
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

# Of the ORM's queries for a chunk, building and converting them took 5 ms of CPU time, as
# much as a seventh of its messages. So these are written out.
_ADD_CHUNK: Final = """
INSERT INTO castserver_duedeliveries (notification_id, subscribers, created_at)
VALUES (%s, %s::bigint[], %s)
"""
_WAITING: Final = """
SELECT coalesce(project.owner_id::text, project.id::text), due.notification_id, count(*)
FROM castserver_duedeliveries AS due
JOIN castserver_notification AS notification ON notification.id = due.notification_id
JOIN castserver_project AS project ON project.id = notification.project_id
GROUP BY 1, 2 ORDER BY min(due.id)
"""
_CHUNK: Final = """
SELECT due.id, cardinality(due.subscribers), due.created_at,
    project.authentication_did, project.counts_clicks, notification.type,
    notification.title, notification.body, notification.icon, notification.url
FROM castserver_duedeliveries AS due
JOIN castserver_notification AS notification ON notification.id = due.notification_id
JOIN castserver_project AS project ON project.id = notification.project_id
WHERE due.notification_id = %s
ORDER BY due.id LIMIT 1 FOR UPDATE OF due SKIP LOCKED
"""
_END_CHUNK: Final = "DELETE FROM castserver_duedeliveries WHERE id = %s"
_IS_ANY_DUE: Final = "SELECT EXISTS (SELECT FROM castserver_duedeliveries)"


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


# The array stays in PostgreSQL. Compared with ANY, so that it is read by the primary key
# whatever the statistics say: a join would read all subscribers of a table of ten thousand.
_LIVE_OF_CHUNK: Final = """
SELECT id, account_key, account, topic, app, subscription_hash
FROM castserver_subscriber
WHERE id = ANY ((SELECT subscribers FROM castserver_duedeliveries WHERE id = %s)::bigint[])
    AND deleted_at IS NULL AND expires_at > %s
"""


class Content(NamedTuple):
    """What the messages of a notification have in common, and the key that signs them."""

    notification_id: UUID
    message: NotifyMessage
    signer_did: str
    counts_clicks: bool
    accepted_at: datetime

    @classmethod
    def of(
        cls, project: Project, notification: Notification, *, accepted_at: datetime
    ) -> Content:
        return cls(
            notification.pk,
            notification.message,
            project.authentication_did,
            project.counts_clicks,
            accepted_at,
        )


class DueDelivery(NamedTuple):
    """A delivery whose message is to be built."""

    pk: str
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
        content = Content.of(project, notification, accepted_at=now)
        return {each.account_key for each in _deliver_now(content, subscribers)}
    # The arrays as PostgreSQL writes them: psycopg would convert number by number.
    chunks = [
        ",".join(str(each.pk) for each in subscribers[start : start + CHUNK])
        for start in range(0, len(subscribers), CHUNK)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            _ADD_CHUNK, [(notification.pk, f"{{{each}}}", now) for each in chunks]
        )
    enqueue_on_commit(SEND_TASK)
    return {each.account_key for each in subscribers}


def _deliver_now(content: Content, subscribers: Sequence[Addressee]) -> list[Addressee]:
    """Build the messages of these; returns who has one, which takes a readable key P."""
    count = len(subscribers)
    if not count:
        return []
    pks = map(str, time_ordered_ids(count))
    ids = zip(pks, rpc_ids(count), subscribers, strict=True)
    sent = _publish(content, [DueDelivery(*each) for each in ids])
    now = clock.now()
    sent_at = now.isoformat()
    # No column can hold a character that COPY would take for its own.
    rows = [
        f"{pk}\t{content.notification_id}\t{subscriber.pk}\t{rpc_id}\t{sent_at}\t{sent_at}\t0\n"
        for pk, rpc_id, subscriber in sent
    ]
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.write("".join(rows))
    duration = (now - content.accepted_at).total_seconds()
    histograms.observe("notification", {"sent": repeat(duration, len(sent))})
    return [each.subscriber for each in sent]


def _publish(content: Content, due: Sequence[DueDelivery]) -> list[DueDelivery]:
    """Put the messages in the outbox, in the caller's transaction.

    Returns the deliveries that have a message; without its key P a delivery has none.
    """
    keys = sym_keys(Holder.CAST, [each.subscriber.topic for each in due])
    signer = signing_key(Holder.CAST, content.signer_did)
    message = content.message
    counts_clicks = content.counts_clicks and bool(message.url)
    # Claims that are not the receiver's own depend on the claim `app`.
    app_of = attrgetter("subscriber.app")
    readable = sorted(
        (each for each in due if Topic(each.subscriber.topic) in keys), key=app_of
    )
    publications: list[Publication] = []
    ivs = iter(entropy.ivs(len(readable)))
    for app, group in groupby(readable, key=app_of):
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
                sym_key=keys[Topic(each.subscriber.topic)],
                request_id=each.rpc_id,
                subscription_hash=each.subscriber.subscription_hash,
                notification_id=each.pk,
            )
            publications.append(batch.publication(recipient, iv=next(ivs)))
    publish_all(publications)
    counters.count("notifications", {"sent": len(publications)})
    failpoint("notify.before_commit")
    return readable


def counted_link(delivery_id: str) -> str:
    """The link of one delivery that counts and redirects to the notification's link."""
    return f"{settings.CAST_API_URL}/v1/notification/{delivery_id}"


# --- large calls: chunks, by tasks ----------------------------------------------------


def send_deliveries(notification_id: str) -> int:
    """Build one chunk of a notification's due messages; returns how many were due.

    Subscribers that ended since the call get nothing.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_CHUNK, [notification_id])
        chunk = cursor.fetchone()
        if chunk is None:
            return 0
        pk, count, accepted_at, signer_did, counts_clicks, *texts = chunk
        content = Content(
            UUID(str(notification_id)),
            NotifyMessage(**dict(zip(CONTENT_FIELDS, texts, strict=True))),
            signer_did,
            counts_clicks,
            accepted_at,
        )
        cursor.execute(_LIVE_OF_CHUNK, [pk, clock.now()])
        live = [Addressee._make(row) for row in cursor.fetchall()]
        _deliver_now(content, live)
        cursor.execute(_END_CHUNK, [pk])
    return int(count)


def due_subscribers(notification: Notification) -> set[int]:
    """Who gets the notification, but has no delivery yet."""
    rows = notification.due.values_list("subscribers", flat=True)
    return {pk for row in rows for pk in row}


def send_due_chunk() -> int:
    """Build one chunk of the due messages of any project; returns how many were due.

    The project owner is chosen at random, so that one who notifies a million accounts
    delays the others by a chunk at a time. Of one owner, the oldest notification is first.
    """
    with connection.cursor() as cursor:
        cursor.execute(_WAITING)
        waiting = cursor.fetchall()
    if not waiting:
        return 0
    if sum(chunks for _, _, chunks in waiting) > 1:
        # Before the work, so that another process builds the next chunk meanwhile.
        enqueue_on_commit(SEND_TASK)
    chosen = entropy.choice(sorted({owner for owner, _, _ in waiting}))
    oldest = next(each for owner, each, _ in waiting if owner == chosen)
    count = send_deliveries(str(oldest))
    # With 0 another worker holds the last ones, and enqueues this task after them.
    if count:
        with connection.cursor() as cursor:
            cursor.execute(_IS_ANY_DUE)
            [is_any_due] = cursor.fetchone()
        if is_any_due:
            enqueue_on_commit(SEND_TASK)
    return count
