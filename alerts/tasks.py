"""What ``alerts`` does by task: each finds due rows by itself, so repeats are harmless."""

from __future__ import annotations

from celery import shared_task

from alerts.services import digest, domain_mails, forwarding, preferences, webpush
from common.drain import DRAIN_TIME_LIMIT_S, single_run

SOFT_TIME_LIMIT_S = DRAIN_TIME_LIMIT_S - 5


@shared_task(
    name=webpush.SEND_TASK,
    time_limit=DRAIN_TIME_LIMIT_S,
    soft_time_limit=SOFT_TIME_LIMIT_S,
)
def send_pushes() -> None:
    single_run(webpush.SEND_TASK, webpush.send_due_pushes)


@shared_task(
    name=forwarding.SEND_TASK,
    time_limit=DRAIN_TIME_LIMIT_S,
    soft_time_limit=SOFT_TIME_LIMIT_S,
)
def send_forwards() -> None:
    single_run(forwarding.SEND_TASK, forwarding.send_due_forwards)


@shared_task(
    name=digest.SEND_TASK,
    time_limit=DRAIN_TIME_LIMIT_S,
    soft_time_limit=SOFT_TIME_LIMIT_S,
)
def send_digests() -> None:
    single_run(digest.SEND_TASK, digest.send_due_digests)


@shared_task(name=domain_mails.SEND_TASK, time_limit=DRAIN_TIME_LIMIT_S)
def send_domain_mails() -> int:
    return domain_mails.send_domain_mails()


@shared_task(name="alerts.prune")
def prune() -> int:
    return webpush.prune() + forwarding.prune() + preferences.prune()
