"""What time does to the rows of the dapp side."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db import transaction

from castserver.models import (
    Answer,
    ChangedSubscriptions,
    Subscriber,
    Watcher,
    WebhookDelivery,
)
from castserver.services.webhooks.webhooks import (
    SubscriberEvent,
    WebhookEvent,
    queue_events,
)
from common import clock
from common.work_queue import repeat
from keychain.services import Holder, forget
from messaging import outbox
from messaging.models import Party

BATCH: Final = 500
EXPIRED: Final = "expired"
# Longer than any message that could still ask for them again.
KEEP_ANSWERS: Final = timedelta(days=31)
KEEP_WEBHOOK_LOG: Final = timedelta(days=30)


def expire_subscribers() -> int:
    """End subscriptions past their expiry, tell the dapps, leave their topics."""
    return repeat(_expire_batch)


def _expire_batch() -> int:
    now = clock.now()
    with transaction.atomic():
        ended = list(
            Subscriber.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("project")
            .filter(deleted_at=None, expires_at__lte=now)
            .order_by("expires_at")[:BATCH]
        )
        if not ended:
            return 0
        Subscriber.objects.filter(pk__in=[each.pk for each in ended]).update(
            deleted_at=now, delete_reason=EXPIRED
        )
        drop_topics([each.topic for each in ended])
        queue_events(gone_events(ended))
    return len(ended)


def gone_events(ended: list[Subscriber]) -> list[SubscriberEvent]:
    """``unsubscribed`` for each account that has no topic left, once."""
    keys = {(each.project_id, each.account_key): each for each in ended}
    staying = set(
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
        if key not in staying
    ]


def drop_topics(topics: list[str]) -> None:
    """Stop listening to notify topics. Their keys stay until ``prune``.

    A message that is still on its way can then be recognised, and an answer that is in
    the outbox does not need them.
    """
    outbox.unsubscribe(Party.CAST, topics)


def prune() -> int:
    """Drop what nothing can ask for any more; how many rows went."""
    now = clock.now()
    counts = [
        Answer.objects.filter(created_at__lte=now - KEEP_ANSWERS).delete()[0],
        WebhookDelivery.objects.filter(created_at__lte=now - KEEP_WEBHOOK_LOG)
        .exclude(state=WebhookDelivery.State.DUE)
        .delete()[0],
        ChangedSubscriptions.objects.filter(due_at__lte=now - KEEP_ANSWERS).delete()[0],
        repeat(_prune_watchers),
        repeat(_forget_keys_of_deleted),
    ]
    return sum(counts)


def _prune_watchers() -> int:
    gone = list(
        Watcher.objects.filter(expires_at__lte=clock.now()).values_list(
            "pk", "response_topic"
        )[:BATCH]
    )
    if not gone:
        return 0
    with transaction.atomic():
        Watcher.objects.filter(pk__in=[pk for pk, _ in gone]).delete()
        forget(Holder.CAST, [topic for _, topic in gone])
    return len(gone)


def _forget_keys_of_deleted() -> int:
    """Delete the keys P of topics that were left long ago; the rows stay as tombstones."""
    before = clock.now() - KEEP_ANSWERS
    topics = list(
        Subscriber.objects.filter(deleted_at__lte=before, keys_forgotten=False)
        .order_by("deleted_at")
        .values_list("topic", flat=True)[:BATCH]
    )
    if not topics:
        return 0
    with transaction.atomic():
        forget(Holder.CAST, topics)
        Subscriber.objects.filter(topic__in=topics).update(keys_forgotten=True)
    return len(topics)
