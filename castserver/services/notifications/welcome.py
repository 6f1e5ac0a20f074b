"""The notification that every new subscriber gets once.

protocol.md, section 10.5. The content is stored once per change; deliveries to new
subscribers hang on that one notification. Who does not allow its type does not get it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import transaction

from castserver.models import Notification, Project, WelcomeNotification
from castserver.services.errors import Invalid
from castserver.services.notifications.delivery import (
    Addressee,
    DueDelivery,
    Recipients,
    copy_deliveries,
    publish_deliveries,
)
from castserver.services.notifications.ids import rpc_ids, time_ordered_ids
from castserver.services.notifications.notify import require_known_type
from common import clock
from walletconnect.errors import RemoteProtocolError
from walletconnect.notify.values import NotifyMessage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from castserver.models import Subscriber


@dataclass(frozen=True, slots=True)
class WelcomeDraft:
    """A welcome as a dapp owner writes it."""

    enabled: bool
    type: str
    title: str
    body: str
    url: str = ""


def welcome_of(project: Project) -> WelcomeNotification | None:
    return WelcomeNotification.objects.filter(project=project).first()


def set_welcome(project: Project, draft: WelcomeDraft) -> WelcomeNotification:
    try:
        NotifyMessage(
            title=draft.title, body=draft.body, type=draft.type, url=draft.url
        ).check_outgoing()
    except RemoteProtocolError as error:
        raise Invalid(error.message) from None
    require_known_type(project, draft.type)
    with transaction.atomic():
        welcome, _ = WelcomeNotification.objects.update_or_create(
            project=project,
            defaults={
                "enabled": draft.enabled,
                "type": draft.type,
                "title": draft.title,
                "body": draft.body,
                "url": draft.url,
                "notification": None,
            },
        )
    return welcome


def send_welcome(newcomers: Sequence[Subscriber]) -> None:
    """Welcome new subscribers, in the transaction that makes them."""
    project_ids = {each.project_id for each in newcomers}
    if not project_ids:
        return
    switched_on = WelcomeNotification.objects.select_related(
        "notification", "project"
    ).filter(project_id__in=project_ids, enabled=True)
    for welcome in switched_on:
        wanting = [
            each
            for each in newcomers
            if each.project_id == welcome.project_id and welcome.type in each.scope
        ]
        _send(welcome, wanting)


def _send(welcome: WelcomeNotification, wanting: Sequence[Subscriber]) -> None:
    if not wanting:
        return
    notification = welcome.notification or _store(welcome)
    ids = zip(
        time_ordered_ids(len(wanting)), rpc_ids(len(wanting)), wanting, strict=True
    )
    due = [
        DueDelivery(pk, rpc_id, Addressee.of(subscriber))
        for pk, rpc_id, subscriber in ids
    ]
    published = publish_deliveries(Recipients(welcome.project, notification, due))
    copy_deliveries(
        notification,
        [each for each in due if each.pk in published],
        sent_at=clock.now(),
    )


def _store(welcome: WelcomeNotification) -> Notification:
    locked = WelcomeNotification.objects.select_for_update().get(pk=welcome.pk)
    if locked.notification is not None:
        return locked.notification
    locked.notification = Notification.objects.create(
        project_id=locked.project_id,
        type=locked.type,
        title=locked.title,
        body=locked.body,
        icon="",
        url=locked.url,
        created_at=clock.now(),
    )
    locked.save(update_fields=["notification"])
    return locked.notification
