"""What ``alerts`` does by task: each finds due rows by itself, so repeats are harmless."""

from __future__ import annotations

from celery import shared_task

from alerts.services import digest, domain_mails, forwarding, preferences, webpush
from common.drain import drain_task


@drain_task(webpush.SEND_TASK)
def send_pushes() -> None:
    webpush.send_due_pushes()


@drain_task(forwarding.SEND_TASK)
def send_forwards() -> None:
    forwarding.send_due_forwards()


@drain_task(digest.SEND_TASK)
def send_digests() -> None:
    digest.send_due_digests()


@drain_task(domain_mails.SEND_TASK)
def send_domain_mails() -> None:
    domain_mails.send_domain_mails()


@shared_task(name="alerts.prune")
def prune() -> int:
    return webpush.prune() + forwarding.prune() + preferences.prune()
