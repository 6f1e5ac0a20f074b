"""The notification that every new subscriber gets once.

Its content is stored as one ``Notification`` per change; the deliveries to new subscribers
belong to that row. Subscribers that do not allow its type get none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from castserver.models import Notification, Project, WelcomeNotification
from castserver.services.notifications.delivery import Addressee, deliver
from castserver.services.notifications.notify import check_content, require_known_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from castserver.models import Subscriber
    from walletconnect.notify.values import NotifyMessage


def welcome_of(project: Project) -> WelcomeNotification | None:
    return WelcomeNotification.objects.filter(project=project).first()


def set_welcome(
    project: Project, message: NotifyMessage, *, enabled: bool
) -> WelcomeNotification:
    check_content(message)
    require_known_type(project, message.type)
    with transaction.atomic():
        welcome, _ = WelcomeNotification.objects.update_or_create(
            project=project,
            defaults={
                "enabled": enabled,
                "type": message.type,
                "title": message.title,
                "body": message.body,
                "url": message.url,
                "notification": None,
            },
        )
    return welcome


def send_welcome(new: Sequence[Subscriber]) -> None:
    """Notify new subscribers, in the transaction that creates them."""
    project_ids = {each.project_id for each in new}
    if not project_ids:
        return
    for welcome in WelcomeNotification.objects.select_related(
        "notification", "project"
    ).filter(project_id__in=project_ids, enabled=True):
        receivers = [
            Addressee.of(each)
            for each in new
            if each.project_id == welcome.project_id and welcome.type in each.scope
        ]
        if receivers:
            notification = welcome.notification or _store(welcome)
            deliver(welcome.project, notification, receivers)


def _store(welcome: WelcomeNotification) -> Notification:
    """The ``Notification`` of the current content; of two callers one creates it."""
    locked = WelcomeNotification.objects.select_for_update().get(pk=welcome.pk)
    if locked.notification is None:
        locked.notification = Notification.of(welcome.project, locked.message)
        locked.notification.save(force_insert=True)
        locked.save(update_fields=["notification"])
    return locked.notification
