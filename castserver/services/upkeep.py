"""Periodic upkeep: expired subscribers, and rows and keys past their retention."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db import connection, transaction

from castserver.models import Subscriber, Watcher
from castserver.services import idempotency
from castserver.services.notifications.recipients import prune_lists
from castserver.services.projects.rotation import drop_expired_keys
from castserver.services.webhooks.webhooks import (
    SubscriberEvent,
    queue_events,
)
from common import clock, retention
from common.work_queue import in_batches
from keychain.services import Holder, forget
from messaging import outbox
from messaging.models import Party
from walletconnect.notify.parties import WebhookEvent

BATCH_SIZE: Final = 500
EXPIRED: Final = "expired"
# A message lives 30 days on the relay at most.
KEEP_KEYS: Final = timedelta(days=31)


@in_batches
def expire_subscribers() -> int:
    """End expired subscriptions, queue webhook events and unsubscribe from the topics."""
    now = clock.now()
    with transaction.atomic():
        ended = list(
            Subscriber.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("project")
            .filter(deleted_at=None, expires_at__lte=now)
            .order_by("expires_at")[:BATCH_SIZE]
        )
        if not ended:
            return 0
        Subscriber.objects.filter(pk__in=[each.pk for each in ended]).update(
            deleted_at=now, delete_reason=EXPIRED
        )
        drop_topics([each.topic for each in ended])
        queue_events(unsubscribed_events(ended))
    return len(ended)


def unsubscribed_events(ended: list[Subscriber]) -> list[SubscriberEvent]:
    """One ``unsubscribed`` event for each account that has no topic left at the dapp."""
    keys = {(each.project_id, each.account_key): each for each in ended}
    remaining = set(
        Subscriber.objects.live(clock.now())
        .filter(
            project_id__in={project_id for project_id, _ in keys},
            account_key__in={account_key for _, account_key in keys},
        )
        .values_list("project_id", "account_key")
    )
    return [
        SubscriberEvent(
            project_id=each.project_id,
            dapp_url=each.project.url,
            event=WebhookEvent.UNSUBSCRIBED,
            account=each.account,
        )
        for key, each in keys.items()
        if key not in remaining
    ]


def drop_topics(topics: list[str]) -> None:
    """Unsubscribe from notify topics; their keys stay until ``prune``.

    With its key a late message is recognised as one of an ended subscription.
    """
    outbox.unsubscribe(Party.CAST, topics)


def prune() -> int:
    """Delete rows and keys past their retention; returns how many."""
    return retention.prune_tables(
        "castserver.prune",
        _prune_watchers,
        _forget_keys_of_deleted,
        idempotency.forget_old,
        prune_lists,
        drop_expired_keys,
        _merge_counts,
    )


_MERGE: Final = """
WITH many AS (
    SELECT project_id, day FROM castserver_projectcount
    GROUP BY project_id, day HAVING count(*) > 1 LIMIT %s
), parts AS (
    DELETE FROM castserver_projectcount part USING many
    WHERE part.project_id = many.project_id AND part.day = many.day
    RETURNING part.*
)
INSERT INTO castserver_projectcount (project_id, day, notifications, sent, received, read)
SELECT project_id, day, sum(notifications), sum(sent), sum(received), sum(read)
FROM parts GROUP BY project_id, day
"""


def _merge_counts() -> int:
    """Merge the counters' parts of some days; returns of how many."""
    with connection.cursor() as cursor:
        cursor.execute(_MERGE, [BATCH_SIZE])
        return int(cursor.rowcount)


def _prune_watchers() -> int:
    gone = list(
        Watcher.objects.filter(expires_at__lte=clock.now()).values_list(
            "pk", "response_topic"
        )[:BATCH_SIZE]
    )
    if not gone:
        return 0
    with transaction.atomic():
        Watcher.objects.filter(pk__in=[pk for pk, _ in gone]).delete()
        forget(Holder.CAST, [topic for _, topic in gone])
    return len(gone)


def _forget_keys_of_deleted() -> int:
    """Delete the keys P of topics that ended 31 days ago; the rows stay as tombstones."""
    before = clock.now() - KEEP_KEYS
    topics = list(
        Subscriber.objects.filter(deleted_at__lte=before, keys_forgotten=False)
        .order_by("deleted_at")
        .values_list("topic", flat=True)[:BATCH_SIZE]
    )
    if not topics:
        return 0
    with transaction.atomic():
        forget(Holder.CAST, topics)
        Subscriber.objects.filter(topic__in=topics).update(keys_forgotten=True)
    return len(topics)
