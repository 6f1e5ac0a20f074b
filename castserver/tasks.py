"""What the Cast Server does by task: each finds due rows by itself, so repeats are harmless."""

from __future__ import annotations

from celery import shared_task

from castserver.services import announcements, idempotency, upkeep
from castserver.services.delivery import send_deliveries, send_due_deliveries
from castserver.services.webhook_delivery import BATCH, deliver_due_webhooks
from castserver.services.webhooks import DELIVER_TASK
from groundwork.wake import enqueue_on_commit

# Below every lease of the rows that a task claims.
TIME_LIMIT_S = 50


@shared_task(name=DELIVER_TASK, time_limit=TIME_LIMIT_S)
def deliver_webhooks() -> int:
    count = deliver_due_webhooks()
    if count == BATCH:
        enqueue_on_commit(DELIVER_TASK)
    return count


@shared_task(name="castserver.send_deliveries", time_limit=TIME_LIMIT_S)
def send_one_chunk(notification_id: str) -> int:
    return send_deliveries(notification_id)


@shared_task(name="castserver.send_due_deliveries", time_limit=TIME_LIMIT_S)
def send_forgotten_deliveries() -> int:
    return send_due_deliveries()


@shared_task(name=announcements.ANNOUNCE_TASK, time_limit=TIME_LIMIT_S)
def announce_changes() -> int:
    return announcements.announce_changes()


@shared_task(name="castserver.expire_subscribers", time_limit=TIME_LIMIT_S)
def expire_subscribers() -> int:
    return upkeep.expire_subscribers()


@shared_task(name="castserver.prune", time_limit=TIME_LIMIT_S)
def prune() -> int:
    return upkeep.prune() + idempotency.forget_old()
