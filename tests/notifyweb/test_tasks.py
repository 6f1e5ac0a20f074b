"""Celery's settings, queues, schedule, beat lock and canaries."""

from __future__ import annotations

import signal
from datetime import timedelta

import pytest
from celery import beat, signals
from django.conf import settings
from django.db import connection, transaction
from django_celery_beat.models import PeriodicTask

from common import clock, heartbeat
from notifyweb.beat import LOCK_KEY, LOCK_S, SingleScheduler
from notifyweb.celery import app
from notifyweb.launcher.programs import OUTBOUND_THREADS
from notifyweb.launcher.watchdog import POLL_S, SILENT_S, is_silent
from notifyweb.schedule import AT_START, CANARY_S, PERIODIC
from notifyweb.task_queues import OUTBOUND_QUEUES, QUEUES, ROUTES, WORKER_QUEUES
from notifyweb.tasks import canary, outbound_canary
from tests.browser_device import wait_for
from tests.messaging.conftest import start_program as program_fixture

start_program = program_fixture


def test_tasks_are_json_and_survive_their_worker():
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert not app.conf.task_always_eager


def test_a_task_ends_before_its_lease_and_its_second_delivery():
    lease_s = 60
    again_s = app.conf.broker_transport_options["visibility_timeout"]
    assert app.conf.task_soft_time_limit < app.conf.task_time_limit < lease_s < again_s


def test_waiting_on_redis_is_limited_on_purpose():
    options = app.conf.broker_transport_options
    assert options["socket_timeout"] > 5
    assert (
        settings.CHANNEL_LAYERS["default"]["CONFIG"]["hosts"][0]["socket_timeout"] > 5
    )
    assert settings.CACHES["default"]["OPTIONS"]["socket_timeout"] <= 5


def test_the_canary_of_each_kind_of_worker_sends_its_heartbeat(redis_client):
    canary()
    assert heartbeat.ages(["worker"])["worker"] < 5
    assert heartbeat.ages(["outbound"])["outbound"] is None
    outbound_canary()
    assert heartbeat.ages(["outbound"])["outbound"] < 5


def test_every_task_has_a_queue_and_every_queue_a_worker():
    app.loader.import_default_modules()
    ours = {name for name in app.tasks if not name.startswith("celery.")}
    assert ours == set(ROUTES)
    assert set(QUEUES) == {*WORKER_QUEUES, *OUTBOUND_QUEUES}
    assert {entry.task for entry in PERIODIC} | set(AT_START) <= set(ROUTES)
    assert set(app.amqp.queues) == set(QUEUES)


def test_the_canaries_come_first():
    """Queues are served in alphabetical order; what is prefetched is served before."""
    options = app.conf.broker_transport_options
    assert options["queue_order_strategy"] == "sorted"
    assert app.conf.worker_prefetch_multiplier == 1
    assert min(WORKER_QUEUES) == ROUTES[canary.name]["queue"]
    assert min(OUTBOUND_QUEUES) == ROUTES[outbound_canary.name]["queue"]


def test_every_kind_of_outbound_work_has_a_thread():
    kinds = [task for task, route in ROUTES.items() if route["queue"] == "outbound"]
    assert len(kinds) < OUTBOUND_THREADS


def test_the_procfile_starts_the_same_workers():
    lines = (settings.BASE_DIR / "Procfile").read_text().splitlines()
    for name, queues in (("worker", WORKER_QUEUES), ("outbound", OUTBOUND_QUEUES)):
        [line] = [each for each in lines if each.startswith(f"{name}: ")]
        assert f"--queues={','.join(queues)} " in line


def test_a_beat_does_not_queue_a_task_twice_while_no_worker_runs(
    make_beat, redis_client
):
    def all_due():
        PeriodicTask.objects.update(last_run_at=clock.now() - timedelta(days=1))
        found = make_beat()
        for _ in range(2 * len(PERIODIC)):
            found.tick()
        found.close()
        return waiting(redis_client)

    make_beat()
    assert all_due() == all_due() >= len(PERIODIC)


def waiting(redis_client):
    return sum(redis_client.llen(f"celery:{queue}") for queue in QUEUES)


@pytest.fixture
def make_beat(redis_client, transactional_db):
    made = []

    def make():
        found = SingleScheduler(app=app, lazy=False)
        made.append(found)
        return found

    return make


def test_the_schedule_is_in_the_database(make_beat):
    make_beat()
    rows = PeriodicTask.objects.filter(enabled=True)
    assert {(entry.task, entry.what) for entry in PERIODIC} <= {
        (row.task, row.description) for row in rows
    }


def test_of_two_beats_one_starts_tasks(make_beat, redis_client):
    make_beat()
    PeriodicTask.objects.update(last_run_at=clock.now() - timedelta(days=1))
    first, second = make_beat(), make_beat()
    first.tick()
    started = waiting(redis_client)
    assert started > 0
    assert second.tick() > 0
    assert waiting(redis_client) == started
    assert first._lock.owned()
    assert heartbeat.ages(["beat"])["beat"] < 5


def test_the_second_beat_takes_over_when_the_first_stops(make_beat, redis_client):
    first, second = make_beat(), make_beat()
    first.tick()
    first.close()
    second.tick()
    assert second._lock.owned()


WAITING = """
    SELECT count(*) FROM pg_locks
    WHERE NOT granted AND relation = 'django_celery_beat_periodictasks'::regclass
"""


def test_a_beat_that_waits_for_the_database_ends_when_asked(
    start_program, make_beat, redis_client
):
    """It must not use the connection that its interrupted query has locked."""
    make_beat()
    # Tasks that were started are what beat stores at its end.
    PeriodicTask.objects.update(last_run_at=clock.now() - timedelta(days=1))
    arguments = "from celery.__main__ import main; main()", "-q", "-A", "notifyweb"
    running = start_program("-c", *arguments, "beat")
    wait_for("started tasks", lambda: waiting(redis_client) > 0)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE django_celery_beat_periodictasks")

        def is_waiting():
            cursor.execute(WAITING)
            return cursor.fetchone() != (0,)

        wait_for("its query", is_waiting)
        running.send_signal(signal.SIGTERM)
    assert running.wait() == 0


def test_a_signal_does_not_close_beat_in_the_middle_of_a_tick(make_beat, monkeypatch):
    """What the tick holds, a lock or a connection, may be what closing needs."""
    service = beat.Service(app, scheduler_cls=SingleScheduler)
    closed = []
    monkeypatch.setattr(SingleScheduler, "close", closed.append)
    # The first also checks the installation as at a start, which a test has not.
    monkeypatch.setenv("NOTIFYWEB_SUPERVISED", "1")
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        signals.beat_init.send(sender=service)
        for each in before:
            service._is_shutdown.clear()
            signal.raise_signal(each)
            assert service._is_shutdown.is_set()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert closed == []


def test_the_lock_is_renewed_and_expires_with_a_killed_beat(make_beat, redis_client):
    first, second = make_beat(), make_beat()
    first.tick()
    redis_client.pexpire(LOCK_KEY, 1_000)
    first.tick()
    assert redis_client.pttl(LOCK_KEY) > 1_000 * (LOCK_S - 2)
    redis_client.delete(LOCK_KEY)
    second.tick()
    assert second._lock.owned()
    first.tick()
    assert second._lock.owned()


def test_a_beat_never_releases_the_lock_of_another(make_beat, redis_client):
    first, second = make_beat(), make_beat()
    first.tick()
    second.close()
    assert first._lock.owned()


@pytest.mark.parametrize(
    ("worker", "beat", "expected"),
    [
        (1.0, 1.0, False),
        (SILENT_S + 1, 1.0, True),
        (None, 1.0, True),
        (200.0, 200.0, False),
        (200.0, None, False),
    ],
)
def test_a_worker_is_silent_only_while_beat_is_not(worker, beat, expected):
    assert is_silent(worker, beat) is expected


def test_a_silent_worker_is_replaced_within_the_promised_minute():
    assert 3 * CANARY_S <= SILENT_S
    # It takes up to eight seconds to start.
    assert SILENT_S + POLL_S + 8 < 60
