"""The later generation's read state: pages of notifications, and marking them as read.

protocol.md, sections 10.1 to 10.3. Newest first; on request the unread before the read. A
notification's id is that of its delivery to the subscriber. An account with several topics
(August wallets that subscribed each by itself) got it on all of them, and has read it once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Value
from django.db.models.functions import Coalesce

from castserver.models import Delivery, Project, Subscriber
from castserver.services.subscribers import requests
from castserver.services.subscribers.announcements import note_changes
from castserver.services.subscribers.requests import Accepted
from castserver.services.subscribers.topic_requests import TopicBatch
from common import clock, entropy
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.notify.methods import GET_NOTIFICATIONS, MARK_READ
from walletconnect.notify.read_state import (
    answer_get_notifications,
    answer_mark_read,
    read_get_notifications,
    read_mark_read,
)
from walletconnect.notify.values import NotifyMessage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.models import QuerySet

    from castserver.services.subscribers.topic_requests import TopicRequest
    from messaging.dispatch import Inbound, NotHandled
    from walletconnect.notify.watch_claims import GetNotificationsAuth, MarkReadAuth

LINK_SCHEMES: Final = ("https://", "http://")


def answer_reads(messages: Sequence[Inbound]) -> dict[int, NotHandled]:
    """Answer requests for pages, in the caller's transaction."""
    batch = TopicBatch.of(messages, GET_NOTIFICATIONS, limit="notify_list")
    accepted, refused, declined = requests.each_of(
        messages, lambda message: _answer_read(batch.request(message))
    )
    # Not kept: a request for a page is answered anew, with what is there now.
    requests.publish_answers(accepted)
    return declined | requests.refuse(refused, messages, GET_NOTIFICATIONS)


def answer_marks(messages: Sequence[Inbound]) -> dict[int, NotHandled]:
    """Mark as read, in the caller's transaction."""
    batch = TopicBatch.of(messages, MARK_READ, limit="notify_list")
    sources: dict[int, tuple[Subscriber, str]] = {}

    def decide(message: Inbound) -> Accepted:
        asked = batch.request(message)
        accepted = _answer_mark(asked)
        sources[asked.subscriber.pk] = (asked.subscriber, asked.identity_did)
        return accepted

    accepted, refused, declined = requests.each_of(messages, decide)
    requests.publish_answers(accepted)
    note_changes(sources.values())
    return declined | requests.refuse(refused, messages, MARK_READ)


# --- pages ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    deliveries: list[Delivery]
    more: bool
    more_unread: bool


def _answer_read(asked: TopicRequest) -> Accepted:
    auth = read_get_notifications(
        asked.request,
        asked.dapp,
        account=asked.account,
        identity=asked.cacao,
        now=clock.now_s(),
    )
    page = _page(_received(asked), auth)
    publish = answer_get_notifications(
        asked.request,
        auth,
        asked.dapp,
        page=[_told(each) for each in page.deliveries],
        more=page.more,
        more_unread=page.more_unread,
        sym_key_p=asked.message.sym_key,
        iv=entropy.iv(),
        now=clock.now_s(),
    )
    return Accepted(asked.message, publish, asked.subscriber.project_id)


def _received(asked: TopicRequest) -> QuerySet[Delivery]:
    """What the account got of the dapp: each notification by its newest topic."""
    topics = [each.pk for each in asked.standing.live]
    rows = Delivery.objects.filter(subscriber__in=topics).exclude(sent_at=None)
    if len(topics) == 1:
        return rows
    newer = rows.filter(
        notification=OuterRef("notification"), subscriber__gt=OuterRef("subscriber")
    )
    return rows.exclude(Exists(newer))


def _page(rows: QuerySet[Delivery], auth: GetNotificationsAuth) -> Page:
    after = _after(rows, auth.aft)
    unread = _before(rows.filter(read_at=None), after)
    if not auth.urf:
        found = list(_newest(_before(rows, after), auth.lmt + 1))
    elif after is not None and after.read_at is not None:
        found = list(_newest(_before(rows.exclude(read_at=None), after), auth.lmt + 1))
    else:
        found = list(_newest(unread, auth.lmt + 1))
        read = rows.exclude(read_at=None)
        found += _newest(read, auth.lmt + 1 - len(found))
    page = found[: auth.lmt]
    shown = [each.pk for each in page]
    return Page(
        deliveries=page,
        more=len(found) > auth.lmt,
        more_unread=unread.exclude(pk__in=shown).exists(),
    )


def _after(rows: QuerySet[Delivery], aft: str | None) -> Delivery | None:
    if aft is None:
        return None
    pk = _uuid(aft)
    found = rows.filter(pk=pk).first() if pk is not None else None
    if found is None:
        raise RemoteProtocolError(ErrorCode.MISMATCH, "claim aft names no notification")
    return found


def _before(rows: QuerySet[Delivery], after: Delivery | None) -> QuerySet[Delivery]:
    return rows if after is None else rows.filter(pk__lt=after.pk)


def _newest(rows: QuerySet[Delivery], most: int) -> QuerySet[Delivery]:
    return rows.select_related("notification").order_by("-pk")[: max(0, most)]


def _told(delivery: Delivery) -> NotifyMessage:
    notification = delivery.notification
    return NotifyMessage(
        title=notification.title,
        body=notification.body,
        type=notification.type,
        icon=notification.icon,
        url=notification.url,
        id=str(delivery.pk),
        sent_at=round((delivery.sent_at or delivery.created_at).timestamp() * 1000),
        is_read=delivery.read_at is not None,
    )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


# --- marks ----------------------------------------------------------------------------


def _answer_mark(asked: TopicRequest) -> Accepted:
    auth = read_mark_read(
        asked.request,
        asked.dapp,
        account=asked.account,
        identity=asked.cacao,
        now=clock.now_s(),
    )
    _mark(asked, auth)
    publish = answer_mark_read(
        asked.request,
        auth,
        asked.dapp,
        sym_key_p=asked.message.sym_key,
        iv=entropy.iv(),
        now=clock.now_s(),
    )
    return Accepted(asked.message, publish, asked.subscriber.project_id)


def _mark(asked: TopicRequest, auth: MarkReadAuth) -> None:
    received = Delivery.objects.filter(subscriber__in=asked.standing.live)
    which = received.filter(read_at=None)
    if not auth.all:
        ids: Iterable[UUID | None] = map(_uuid, auth.ids or ())
        named = received.filter(pk__in=[pk for pk in ids if pk is not None])
        which = which.filter(notification__in=named.values("notification"))
    which.update(read_at=clock.now())


def mark_all_as_read(project: Project) -> int:
    """Mark every notification of a project as read, for all of its subscribers."""
    unread = Delivery.objects.filter(subscriber__project=project, read_at=None)
    subscribers = Subscriber.objects.select_related("project").filter(
        pk__in=unread.values("subscriber_id")
    )
    with transaction.atomic():
        touched = [(each, "") for each in subscribers.live(clock.now())]
        count = unread.update(read_at=clock.now())
        note_changes(touched)
    return count


def open_link(delivery_id: str) -> str | None:
    """The link of a notification, counted as opened; None if there is none."""
    pk = _uuid(delivery_id)
    if pk is None:
        return None
    delivery = Delivery.objects.select_related("notification").filter(pk=pk).first()
    if delivery is None or not delivery.notification.url.startswith(LINK_SCHEMES):
        return None
    Delivery.objects.filter(pk=pk).update(
        open_count=F("open_count") + 1,
        opened_at=Coalesce("opened_at", Value(clock.now())),
    )
    return delivery.notification.url
