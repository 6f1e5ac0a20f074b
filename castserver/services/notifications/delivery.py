"""Notifications on their way: messages built in batches, and the rows that remember them.

performance.md, "Notify": the constant part of the claims once, keys in one query, rows by
COPY, and one task for up to a thousand messages. A delivery without ``sent_at`` has no
message yet; building one and noting that it was built are one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.db.models import BooleanField, Count, ExpressionWrapper, Min, Q

from castserver.models import Delivery, Notification
from castserver.services.projects.owners import owner_of
from castserver.services.publications import publish_all
from common import clock, entropy
from common.failpoints import failpoint
from common.wake import enqueue_on_commit
from keychain.services import Holder, signing_key, sym_keys
from walletconnect.identity.did import AccountId
from walletconnect.notify.message import MessageBatch, Recipient
from walletconnect.notify.values import NotifyMessage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from castserver.models import Project, Subscriber
    from walletconnect.crypto.keys import SymKey, Topic
    from walletconnect.crypto.signing import IdentityKey
    from walletconnect.relay.messages import Publication

CHUNK: Final = 1_000
SEND_TASK: Final = "castserver.send_deliveries"

_COPY: Final = """
COPY castserver_delivery
    (id, notification_id, subscriber_id, rpc_id, created_at, sent_at, open_count)
FROM STDIN
"""
_SENT: Final = "UPDATE castserver_delivery SET sent_at = %s WHERE id = ANY(%s)"
_DROP: Final = "DELETE FROM castserver_delivery WHERE id = ANY(%s)"


class Addressee(NamedTuple):
    """What a message needs to know of a subscriber.

    A plain tuple of a few columns: a call may make ten thousand of them.
    """

    pk: int
    account_key: str
    account: str
    topic: str
    app: str
    subscription_hash: str
    is_later_generation: bool

    @classmethod
    def of(cls, subscriber: Subscriber) -> Addressee:
        return cls(*(getattr(subscriber, name) for name in cls._fields))


class DueDelivery(NamedTuple):
    """One message to build."""

    pk: UUID
    rpc_id: int
    subscriber: Addressee


@dataclass(frozen=True, slots=True)
class Recipients:
    """One notification, and the deliveries of it whose messages are due."""

    project: Project
    notification: Notification
    due: Sequence[DueDelivery]


def copy_deliveries(
    notification: Notification,
    due: Iterable[DueDelivery],
    *,
    sent_at: datetime | None,
) -> None:
    now = clock.now()
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        for each in due:
            copy.write_row(
                (
                    each.pk,
                    notification.pk,
                    each.subscriber.pk,
                    each.rpc_id,
                    now,
                    sent_at,
                    0,
                )
            )


def publish_deliveries(recipients: Recipients) -> set[UUID]:
    """Put the messages in the outbox, in the caller's transaction.

    The answer names the deliveries that have one: a key that does not open leaves its
    delivery out.
    """
    topics = [each.subscriber.topic for each in recipients.due]
    keys = sym_keys(Holder.CAST, topics)
    built = list(_build(recipients, keys))
    publish_all(publication for _, publication in built)
    failpoint("notify.before_commit")
    return {pk for pk, _ in built}


def _build(
    recipients: Recipients, keys: Mapping[Topic, SymKey]
) -> Iterator[tuple[UUID, Publication]]:
    key = signing_key(Holder.CAST, recipients.project.authentication_did)
    readable = sorted(
        (each for each in recipients.due if each.subscriber.topic in keys),
        key=_wording,
    )
    for wording, group in groupby(readable, key=_wording):
        batch = None
        for each in group:
            if batch is None or _link_is_own(recipients):
                batch = _batch(recipients, key, wording=wording, delivery=each)
            subscriber = each.subscriber
            recipient = Recipient(
                account=AccountId.parse(subscriber.account),
                sym_key=keys[subscriber.topic],  # type: ignore[index]  # a topic's text
                request_id=each.rpc_id,
                subscription_hash=subscriber.subscription_hash,
                notification_id=str(each.pk),
            )
            yield each.pk, batch.publication(recipient, iv=entropy.iv())


def _wording(each: DueDelivery) -> tuple[bool, str]:
    """What makes the constant part of the claims: the generation, and the app claim."""
    return each.subscriber.is_later_generation, each.subscriber.app


def _batch(
    recipients: Recipients,
    key: IdentityKey,
    *,
    wording: tuple[bool, str],
    delivery: DueDelivery,
) -> MessageBatch:
    is_v1, app = wording
    notification = recipients.notification
    url = notification.url
    if _link_is_own(recipients):
        url = f"{settings.CAST_API_URL}/v1/notification/{delivery.pk}"
    message = NotifyMessage(
        title=notification.title,
        body=notification.body,
        type=notification.type,
        icon=notification.icon,
        url=url,
    )
    # An id for all of them: also a topic that August made may have later readers.
    form = MessageBatch.v1 if is_v1 else MessageBatch.v0
    return form(message, key, app=app, now=clock.now_s(), sent_at=clock.now_ms())


def _link_is_own(recipients: Recipients) -> bool:
    """Whether every recipient gets a link of their own, which counts being opened."""
    return recipients.project.counts_clicks and bool(recipients.notification.url)


# --- large calls: chunks, by tasks ----------------------------------------------------


def send_deliveries(notification_id: str) -> int:
    """Build one chunk of what is due of a notification; how many were found due."""
    with transaction.atomic():
        due = _lock_due(notification_id)
        if not due:
            return 0
        notification = Notification.objects.select_related("project").get(
            pk=notification_id
        )
        live = [each for each, is_live in due if is_live]
        recipients = Recipients(notification.project, notification, live)
        published = publish_deliveries(recipients)
        with connection.cursor() as cursor:
            cursor.execute(_SENT, [clock.now(), list(published)])
            # Who left meanwhile gets nothing, and nothing of it stays.
            gone = [each.pk for each, _ in due if each.pk not in published]
            cursor.execute(_DROP, [gone])
    return len(due)


def _lock_due(notification_id: str) -> list[tuple[DueDelivery, bool]]:
    """A chunk that no other worker has, and whether each may still be sent."""
    columns = [f"subscriber__{name}" for name in Addressee._fields]
    now = clock.now()
    is_live = Q(subscriber__deleted_at=None, subscriber__expires_at__gt=now)
    rows = (
        Delivery.objects.select_for_update(skip_locked=True, of=("self",))
        .filter(notification_id=notification_id, sent_at=None)
        .order_by("id")
        .values_list(
            "pk", "rpc_id", ExpressionWrapper(is_live, BooleanField()), *columns
        )
    )
    return [
        (DueDelivery(row[0], row[1], Addressee._make(row[3:])), row[2])
        for row in rows[:CHUNK]
    ]


def send_due_chunk() -> int:
    """Build one chunk of what is due, of any project; how many were found due.

    The owner is drawn by lot, so that one who notifies a million accounts delays the
    others by a chunk at a time. Within an owner the oldest notification comes first.
    """
    waiting = list(
        Delivery.objects.filter(sent_at=None)
        .annotate(owner=owner_of("notification__project"))
        .values("owner", "notification_id")
        .annotate(oldest=Min("created_at"), count=Count("pk"))
        .order_by("oldest")
    )
    if not waiting:
        return 0
    if sum(each["count"] for each in waiting) > CHUNK:
        # Before the work, so that another process builds the next chunk meanwhile.
        enqueue_on_commit(SEND_TASK)
    owner = entropy.choice(sorted({each["owner"] for each in waiting}))
    oldest = next(each for each in waiting if each["owner"] == owner)
    count = send_deliveries(str(oldest["notification_id"]))
    # None found: another worker has the last ones, and looks again after them.
    if count and Delivery.objects.filter(sent_at=None).exists():
        enqueue_on_commit(SEND_TASK)
    return count
