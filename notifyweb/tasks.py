"""Canaries: tasks that only send the heartbeat of the worker that runs them."""

from __future__ import annotations

from celery import shared_task

from common import heartbeat
from notifyweb import schedule


@shared_task(name=schedule.CANARY)
def canary() -> None:
    heartbeat.beat("worker")


@shared_task(name=schedule.OUTBOUND_CANARY)
def outbound_canary() -> None:
    heartbeat.beat("outbound")
