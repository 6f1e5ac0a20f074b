"""The canary: a task that does nothing but show that tasks are done."""

from __future__ import annotations

from celery import shared_task

from groundwork import heartbeat
from notifyweb.schedule import CANARY


@shared_task(name=CANARY)
def canary() -> None:
    heartbeat.beat("worker")
