"""Limits that protect each other keep the margins that ``docs/operations.md`` states."""

from __future__ import annotations

from django.conf import settings

from castserver.services import idempotency
from common import retention, work_queue
from common.drain import DRAIN_TIME_LIMIT_S
from history import client
from notifyweb.celery import app
from notifyweb.database import IDLE_IN_TRANSACTION_MS
from notifyweb.health import KEEP_S, MAX_DUE_AGE_S, MAX_HEARTBEAT_AGE_S
from syncstore.services.cold_start import BUDGET, LEASE

STATEMENT_MS = int(
    settings.DATABASES["default"]["OPTIONS"]["session"]["statement_timeout"]
)


def test_a_hanging_call_loses_its_transaction_before_its_idempotency_key():
    longest = (IDLE_IN_TRANSACTION_MS + STATEMENT_MS) / 1000
    assert idempotency.LEASE.total_seconds() >= 1.5 * longest


def test_work_ends_before_its_lease():
    lease = work_queue.LEASE.total_seconds()
    assert (
        settings.CELERY_TASK_SOFT_TIME_LIMIT < settings.CELERY_TASK_TIME_LIMIT < lease
    )
    longest = max(
        settings.EMAIL_TIMEOUT,
        settings.LIMITS.webhook_deadline_s,
        settings.LIMITS.document_deadline_s,
    )
    assert longest < lease / 2


def test_every_task_ends_before_it_is_delivered_again():
    app.loader.import_default_modules()
    limits = {name: task.time_limit or 0 for name, task in app.tasks.items()}
    assert limits["syncstore.cold_start"] > DRAIN_TIME_LIMIT_S
    again = settings.CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"]
    assert max(*limits.values(), settings.CELERY_TASK_TIME_LIMIT) < again


def test_the_soft_time_limit_of_every_task_is_just_below_its_hard_one():
    # A task that sets only the hard one would be ended by the soft one of all tasks.
    app.loader.import_default_modules()
    ours = {name: task for name, task in app.tasks.items() if "celery" not in name}
    for name, task in ours.items():
        soft = task.soft_time_limit or settings.CELERY_TASK_SOFT_TIME_LIMIT
        hard = task.time_limit or settings.CELERY_TASK_TIME_LIMIT
        assert soft < hard <= soft + 10, name


def test_pruning_ends_before_the_soft_time_limit():
    assert retention.BUDGET_S <= settings.CELERY_TASK_SOFT_TIME_LIMIT - 15


def test_a_cold_start_ends_before_its_lease_and_its_second_delivery():
    again = settings.CELERY_BROKER_TRANSPORT_OPTIONS["visibility_timeout"]
    # A page of a History Server may take as long as its deadline.
    longest = BUDGET.total_seconds() + client.MESSAGES_S
    assert longest <= LEASE.total_seconds() < again


def test_three_heartbeats_may_be_missed():
    periods = {"gateway": 5, "worker": 15, "outbound": 15, "beat": 3}
    assert all(
        MAX_HEARTBEAT_AGE_S[name] > 3 * period for name, period in periods.items()
    )


def test_readiness_is_fresher_than_what_it_measures():
    assert KEEP_S * 10 < MAX_DUE_AGE_S
