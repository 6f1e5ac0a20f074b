"""Deleting a project: subscribers get a delete notification, then all rows are removed.

In batches of one transaction each, so that closing a large project holds no lock for long.
A process that dies in between leaves a project that can be closed again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import transaction

from accounts.services import audit
from castserver.models import Subscriber, Webhook
from castserver.services.projects.identities import dapp_identities
from castserver.services.subscribers.announcements import note_changes
from castserver.services.subscribers.delete_notifications import publish_deletes
from castserver.services.upkeep import drop_topics
from castserver.services.webhooks.webhooks import delete_webhook
from common import clock
from common.work_queue import in_batches
from keychain.services import Holder, forget
from messaging import outbox
from messaging.models import Party

if TYPE_CHECKING:
    from castserver.models import Project, ProjectKeys

REASON: Final = "The app was closed."
BATCH_SIZE: Final = 500


def close_project(project: Project) -> None:
    """End every subscription, and delete the project's keys and rows."""
    keys: list[Project | ProjectKeys] = [project, *project.other_keys.all()]
    topics = [each.subscribe_topic for each in keys]
    # First, so that no subscriber is added behind the loop below.
    with transaction.atomic():
        outbox.unsubscribe(Party.CAST, topics)
    _end_subscriptions(project)
    with transaction.atomic():
        for webhook in Webhook.objects.filter(project=project):
            delete_webhook(project, str(webhook.pk))
        audit("project.closed", subject=project.pk, detail=project.url, by_caller=True)
        forget(Holder.CAST, topics + [each.authentication_did for each in keys])
        project.delete()


@in_batches
def _end_subscriptions(project: Project) -> int:
    now = clock.now()
    with transaction.atomic():
        rows = list(
            Subscriber.objects.select_for_update(of=("self",))
            .select_related("project")
            .filter(project=project, keys_forgotten=False)
            .order_by("id")[:BATCH_SIZE]
        )
        live = [row for row in rows if row.is_live(now)]
        publish_deletes(live, dapp_identities([project]), reason=REASON)
        Subscriber.objects.filter(pk__in=[row.pk for row in rows]).update(
            deleted_at=now, delete_reason=REASON, keys_forgotten=True
        )
        topics = [row.topic for row in rows]
        drop_topics(topics)
        forget(Holder.CAST, topics)
        note_changes((row, "") for row in live)
    return len(rows)
