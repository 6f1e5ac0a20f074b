"""Periodic tasks, workers and gateways: when they ran last, and whether they are alive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import redis
from django.db import transaction
from django.utils.translation import gettext
from django_celery_beat.models import PeriodicTask
from kombu.exceptions import OperationalError

from accounts.services import audit
from common.task_runs import TaskRuns, task_runs
from common.wake import reserve_wake_up
from messaging.models import PartyClient
from notifyweb.celery import app

if TYPE_CHECKING:
    from accounts.models import Device, User

PING_TIMEOUT_S = 0.7
# The gateway updates a lane's row about this often.
MAX_PARTIES = 200


@dataclass(frozen=True, slots=True)
class Job:
    row: PeriodicTask
    runs: TaskRuns
    last_run: datetime | None
    next_run: datetime | None

    @property
    def description(self) -> str:
        """In the reader's language; the row has it in English (``notifyweb.schedule``)."""
        text = self.row.description
        return gettext(text) if text else ""

    @property
    def failed_last(self) -> bool:
        return bool(self.runs.failed_ms) and self.runs.failed_ms >= self.runs.last_ms


def jobs() -> list[Job]:
    rows = list(
        PeriodicTask.objects.exclude(task="celery.backend_cleanup")
        .select_related("interval", "crontab", "solar", "clocked")
        .order_by("task")
    )
    try:
        runs = task_runs([row.task for row in rows])
    except redis.RedisError:
        runs = {}
    return [_job(row, runs.get(row.task, TaskRuns())) for row in rows]


def _job(row: PeriodicTask, runs: TaskRuns) -> Job:
    last = row.last_run_at
    if runs.last_ms:
        # Beat writes its own time only every few minutes.
        last = datetime.fromtimestamp(runs.last_ms / 1000, tz=UTC)
    following = None
    if row.enabled and last is not None:
        remaining: timedelta = row.schedule.remaining_estimate(last)
        following = datetime.now(UTC) + max(remaining, timedelta())
    return Job(row, runs, last, following)


def run_now(row: PeriodicTask, *, actor: User, device: Device | None) -> bool:
    """Queue the task, unless it is queued already. False if Redis does not answer."""
    with transaction.atomic():
        audit("job.run-now", actor=actor, device=device, subject=row.task)
        try:
            if reserve_wake_up(row.task):
                app.send_task(row.task)
        except (redis.RedisError, OperationalError):
            transaction.set_rollback(True)
            return False
    return True


def worker_names() -> list[str]:
    """Names of the workers that answer within ``PING_TIMEOUT_S``."""
    try:
        answers = app.control.ping(timeout=PING_TIMEOUT_S)
    except (OSError, OperationalError, redis.RedisError):
        return []
    return sorted(name for answer in answers or [] for name in answer)


def gateway_lanes() -> list[PartyClient]:
    return list(PartyClient.objects.order_by("party", "lane")[:MAX_PARTIES])
