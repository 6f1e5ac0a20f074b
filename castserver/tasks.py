"""Celery tasks. Each finds its due rows itself, so a lost or repeated run is harmless."""

from __future__ import annotations

from celery import shared_task

from castserver.services import upkeep
from castserver.services.notifications import broadcast, delivery
from castserver.services.notifications.delivery import SEND_TASK
from castserver.services.projects.address_proof import PROVE_TASK, prove_addresses
from castserver.services.subscribers import announcements, counts
from castserver.services.webhooks.sender import deliver_due_webhooks
from castserver.services.webhooks.webhooks import DELIVER_TASK
from common.drain import DRAIN_TIME_LIMIT_S, single_run

# Below every lease of the rows that a task claims.
TIME_LIMIT_S = 50
PRUNE_TIME_LIMIT_S = 600


@shared_task(
    name=DELIVER_TASK,
    time_limit=DRAIN_TIME_LIMIT_S,
    soft_time_limit=DRAIN_TIME_LIMIT_S - 5,
)
def deliver_webhooks() -> None:
    single_run(DELIVER_TASK, deliver_due_webhooks)


@shared_task(
    name=PROVE_TASK,
    time_limit=DRAIN_TIME_LIMIT_S,
    soft_time_limit=DRAIN_TIME_LIMIT_S - 5,
)
def prove_project_addresses() -> None:
    single_run(PROVE_TASK, prove_addresses)


@shared_task(name=SEND_TASK, time_limit=TIME_LIMIT_S)
def send_due_chunk() -> int:
    return delivery.send_due_chunk()


@shared_task(name=broadcast.SEND_TASK, time_limit=TIME_LIMIT_S)
def send_due_broadcasts() -> int:
    return broadcast.send_due_broadcasts()


@shared_task(name=announcements.ANNOUNCE_TASK, time_limit=TIME_LIMIT_S)
def announce_changes() -> int:
    return announcements.announce_changes()


@shared_task(name=counts.COUNT_TASK, time_limit=TIME_LIMIT_S)
def count_subscribers() -> int:
    return counts.count_subscribers()


@shared_task(name="castserver.expire_subscribers", time_limit=TIME_LIMIT_S)
def expire_subscribers() -> int:
    return upkeep.expire_subscribers()


@shared_task(name="castserver.prune", time_limit=PRUNE_TIME_LIMIT_S)
def prune() -> int:
    return upkeep.prune()
