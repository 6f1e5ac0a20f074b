"""Read state: pages of notifications, marking them as read, and opened links.

Pages are newest first, on request the unread before the read. A notification's id is that
of its delivery to the subscriber. An account with several topics (v0 wallets that subscribed
independently) received it on each of them, and has read it once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, Value
from django.db.models.functions import Coalesce

from castserver.models import Delivery, Project, Subscriber
from castserver.services.notifications.delivery import counted_link
from castserver.services.subscribers import requests
from castserver.services.subscribers.announcements import note_changes
from castserver.services.subscribers.requests import Accepted
from castserver.services.subscribers.topic_requests import TopicBatch
from common import clock, entropy, histograms
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.notify.methods import GET_NOTIFICATIONS, MARK_READ
from walletconnect.notify.read_state import (
    answer_get_notifications,
    answer_mark_read,
    read_get_notifications,
    read_mark_read,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet

    from castserver.services.subscribers.topic_requests import TopicRequest
    from messaging.dispatch import Inbound, NotHandled
    from walletconnect.notify.values import NotifyMessage
    from walletconnect.notify.watch_claims import GetNotificationsAuth

LINK_SCHEMES: Final = ("https://", "http://")


def answer_reads(messages: Sequence[Inbound]) -> dict[int, NotHandled]:
    """Answer requests for pages, in the caller's transaction."""
    batch = TopicBatch.of(messages, GET_NOTIFICATIONS, limit="notify_list")
    accepted, refused, declined = requests.each_of(
        messages, lambda message: _answer_read(batch.request(message))
    )
    # Not stored: a repeated request gets the page as it is now.
    requests.publish_answers(accepted)
    return declined | requests.refuse(refused, messages, GET_NOTIFICATIONS)


def answer_marks(messages: Sequence[Inbound]) -> dict[int, NotHandled]:
    """Mark as read, in the caller's transaction."""
    batch = TopicBatch.of(messages, MARK_READ, limit="notify_list")
    changes: dict[int, tuple[Subscriber, str]] = {}

    def decide(message: Inbound) -> Accepted:
        asked = batch.request(message)
        accepted = _answer_mark(asked)
        changes[asked.subscriber.pk] = (asked.subscriber, asked.identity_did)
        return accepted

    accepted, refused, declined = requests.each_of(messages, decide)
    requests.publish_answers(accepted)
    note_changes(changes.values())
    return declined | requests.refuse(refused, messages, MARK_READ)


# --- pages ----------------------------------------------------------------------------


def _answer_read(asked: TopicRequest) -> Accepted:
    auth = read_get_notifications(
        asked.request,
        asked.dapp,
        account=asked.account,
        identity=asked.cacao,
        now=clock.now_s(),
    )
    topics = [each.pk for each in asked.state.live]
    rows = Delivery.objects.filter(subscriber__in=topics).exclude(sent_at=None)
    if len(topics) > 1:
        # Of a notification that went to several topics, the delivery to the newest.
        newer = rows.filter(
            notification=OuterRef("notification"), subscriber__gt=OuterRef("subscriber")
        )
        rows = rows.exclude(Exists(newer))
    deliveries, more, more_unread = _page(rows, auth)
    publish = answer_get_notifications(
        asked.request,
        auth,
        asked.dapp,
        page=[
            replace(
                _message(each, counts_clicks=asked.subscriber.project.counts_clicks),
                id=str(each.pk),
                sent_at=round((each.sent_at or each.created_at).timestamp() * 1000),
                is_read=each.read_at is not None,
            )
            for each in deliveries
        ],
        more=more,
        more_unread=more_unread,
        sym_key_p=asked.message.sym_key,
        iv=entropy.iv(),
        now=clock.now_s(),
    )
    return Accepted(asked.message, publish, asked.subscriber.project_id)


def _message(delivery: Delivery, *, counts_clicks: bool) -> NotifyMessage:
    """What was sent, with the same link: v1 clients replace the message by the page."""
    message = delivery.notification.message
    if counts_clicks and message.url:
        message = replace(message, url=counted_link(str(delivery.pk)))
    return message


def _page(
    rows: QuerySet[Delivery], auth: GetNotificationsAuth
) -> tuple[list[Delivery], bool, bool]:
    """The page, whether more follow, and whether unread ones are among those."""
    after = None
    older = Q()
    if auth.aft is not None:
        pk = _uuid(auth.aft)
        after = rows.filter(pk=pk).first() if pk is not None else None
        if after is None:
            raise RemoteProtocolError(
                ErrorCode.MISMATCH, "claim aft names no notification"
            )
        older = Q(pk__lt=after.pk)
    limit = auth.lmt + 1

    def newest(found: QuerySet[Delivery], count: int) -> list[Delivery]:
        ordered = found.select_related("notification").order_by("-pk")
        return list(ordered[: max(0, count)])

    unread = rows.filter(older, read_at=None)
    read = rows.exclude(read_at=None)
    if not auth.urf:
        found = newest(rows.filter(older), limit)
    elif after is not None and after.read_at is not None:
        # The page before ended among the read ones.
        found = newest(read.filter(older), limit)
    else:
        found = newest(unread, limit)
        found += newest(read, limit - len(found))
    page = found[: auth.lmt]
    more_unread = unread.exclude(pk__in=[each.pk for each in page]).exists()
    return page, len(found) > auth.lmt, more_unread


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
    received = Delivery.objects.filter(subscriber__in=asked.state.live)
    unread = received.filter(read_at=None)
    if not auth.all:
        named = received.filter(
            pk__in=[pk for text in auth.ids or () if (pk := _uuid(text)) is not None]
        )
        # By notification, so that its deliveries to other topics are marked too.
        unread = unread.filter(notification__in=named.values("notification"))
    now = clock.now()
    arrivals = unread.values_list(
        Coalesce("receipt_at", "sent_at", "created_at"), flat=True
    )
    durations = [(now - at).total_seconds() for at in arrivals]
    unread.update(read_at=now)
    histograms.observe("notification", {"read": durations})
    publish = answer_mark_read(
        asked.request,
        auth,
        asked.dapp,
        sym_key_p=asked.message.sym_key,
        iv=entropy.iv(),
        now=clock.now_s(),
    )
    return Accepted(asked.message, publish, asked.subscriber.project_id)


def mark_all_as_read(project: Project) -> int:
    """Mark every notification of a project as read, for all of its subscribers."""
    unread = Delivery.objects.filter(subscriber__project=project, read_at=None)
    subscribers = Subscriber.objects.select_related("project").filter(
        pk__in=unread.values("subscriber_id")
    )
    with transaction.atomic():
        changes = [(each, "") for each in subscribers.live(clock.now())]
        count = unread.update(read_at=clock.now())
        note_changes(changes)
    return count


def open_link(delivery_id: str) -> str | None:
    """The link of a notification, counted as opened; None if there is none."""
    pk = _uuid(delivery_id)
    if pk is None:
        return None
    delivery = Delivery.objects.select_related("notification").filter(pk=pk).first()
    # Rows from before links were checked may hold any text.
    if delivery is None or not delivery.notification.url.startswith(LINK_SCHEMES):
        return None
    Delivery.objects.filter(pk=pk).update(
        open_count=F("open_count") + 1,
        opened_at=Coalesce("opened_at", Value(clock.now())),
    )
    return delivery.notification.url
