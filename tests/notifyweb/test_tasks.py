"""Celery as this project needs it: JSON, late acknowledgements, one clock, a canary."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django_celery_beat.models import PeriodicTask

from common import clock, heartbeat
from notifyweb.beat import LOCK_KEY, SingleScheduler
from notifyweb.celery import app
from notifyweb.launcher.programs import OUTBOUND_THREADS
from notifyweb.launcher.watchdog import is_silent
from notifyweb.schedule import AT_START, PERIODIC
from notifyweb.task_queues import OUTBOUND_QUEUES, QUEUES, ROUTES, WORKER_QUEUES
from notifyweb.tasks import canary, outbound_canary


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


def test_each_kind_of_worker_has_a_canary_that_is_its_sign_of_life(redis_client):
    canary()
    assert heartbeat.ages(["worker"])["worker"] < 5
    assert heartbeat.ages(["outbound"])["outbound"] is None
    outbound_canary()
    assert heartbeat.ages(["outbound"])["outbound"] < 5


def test_every_task_of_ours_has_a_queue_and_every_queue_a_worker():
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


def test_a_beat_does_not_pile_up_what_no_worker_takes(make_beat, redis_client):
    def all_due():
        PeriodicTask.objects.update(last_run_at=clock.now() - timedelta(days=1))
        found = make_beat(b"first")
        for _ in range(2 * len(PERIODIC)):
            found.tick()
        found.close()
        return waiting(redis_client)

    make_beat(b"of yesterday")
    assert all_due() == all_due() >= len(PERIODIC)


def waiting(redis_client):
    return sum(redis_client.llen(f"celery:{queue}") for queue in QUEUES)


@pytest.fixture
def make_beat(redis_client, transactional_db):
    made = []

    def make(name):
        found = SingleScheduler(app=app, lazy=False)
        found._identity = name
        made.append(found)
        return found

    return make


def test_the_schedule_is_in_the_database(make_beat):
    make_beat(b"first")
    rows = PeriodicTask.objects.filter(enabled=True)
    assert {entry.task for entry in PERIODIC} <= {row.task for row in rows}


def test_of_two_beats_one_starts_tasks(make_beat, redis_client):
    make_beat(b"of yesterday")
    PeriodicTask.objects.update(last_run_at=clock.now() - timedelta(days=1))
    first, second = make_beat(b"first"), make_beat(b"second")
    first.tick()
    started = waiting(redis_client)
    assert started > 0
    assert second.tick() > 0
    assert waiting(redis_client) == started
    assert redis_client.get(LOCK_KEY) == b"first"
    assert heartbeat.ages(["beat"])["beat"] < 5


def test_the_second_beat_takes_over_when_the_first_leaves(make_beat, redis_client):
    first, second = make_beat(b"first"), make_beat(b"second")
    first.tick()
    first.close()
    second.tick()
    assert redis_client.get(LOCK_KEY) == b"second"


def test_a_beat_never_drops_the_lock_of_another(make_beat, redis_client):
    first, second = make_beat(b"first"), make_beat(b"second")
    first.tick()
    second.close()
    assert redis_client.get(LOCK_KEY) == b"first"


@pytest.mark.parametrize(
    ("worker", "beat", "expected"),
    [
        (1.0, 1.0, False),
        (200.0, 1.0, True),
        (None, 1.0, True),
        (200.0, 200.0, False),
        (200.0, None, False),
    ],
)
def test_a_worker_is_silent_only_while_beat_is_not(worker, beat, expected):
    assert is_silent(worker, beat) is expected
