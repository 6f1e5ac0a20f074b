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
from common.drain import drain_task


@drain_task(DELIVER_TASK)
def deliver_webhooks() -> None:
    deliver_due_webhooks()


@drain_task(PROVE_TASK)
def prove_project_addresses() -> None:
    prove_addresses()


@shared_task(name=SEND_TASK)
def send_due_chunk() -> int:
    return delivery.send_due_chunk()


@shared_task(name=broadcast.SEND_TASK)
def send_due_broadcasts() -> int:
    return broadcast.send_due_broadcasts()


@shared_task(name=announcements.ANNOUNCE_TASK)
def announce_changes() -> int:
    return announcements.announce_changes()


@shared_task(name=counts.COUNT_TASK)
def count_subscribers() -> int:
    return counts.count_subscribers()


@shared_task(name="castserver.expire_subscribers")
def expire_subscribers() -> int:
    return upkeep.expire_subscribers()


@shared_task(name="castserver.prune")
def prune() -> int:
    return upkeep.prune()
