"""Wake-ups are sent after commit, once, and their failure harms no caller."""

from __future__ import annotations

import contextlib
import time

import pytest
from django.db import transaction

from common import heartbeat, wake
from common.connections import shared_redis


@pytest.fixture
def listener(redis_client):
    """A subscription to ``wake:gateway``."""
    with redis_client.pubsub(ignore_subscribe_messages=True) as found:
        found.subscribe(wake.channel_name("gateway"))
        assert found.get_message(timeout=2) is None
        yield found


@pytest.fixture
def no_redis(settings, tmp_path):
    settings.REDIS_URL = f"unix://{tmp_path}/absent.sock"
    shared_redis.cache_clear()
    yield
    shared_redis.cache_clear()


def received(listener):
    found = 0
    while listener.get_message(timeout=0.2):
        found += 1
    return found


@pytest.mark.django_db(transaction=True)
def test_a_hint_waits_for_the_commit(listener):
    with transaction.atomic():
        wake.wake("gateway")
        assert received(listener) == 0
    assert received(listener) == 1


@pytest.mark.django_db(transaction=True)
def test_many_hints_of_one_transaction_are_one(listener):
    with transaction.atomic():
        for _ in range(10):
            wake.wake("gateway")
        with transaction.atomic():
            wake.wake("gateway")
    assert received(listener) == 1


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_transaction_sends_no_wake_up(listener):
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        wake.wake("gateway")
        raise ZeroDivisionError
    assert received(listener) == 0


@pytest.mark.django_db(transaction=True)
def test_a_hint_survives_the_rollback_of_a_savepoint_that_repeated_it(listener):
    with transaction.atomic():
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            wake.wake("gateway")
            raise ZeroDivisionError
        wake.wake("gateway")
    assert received(listener) == 1


@pytest.mark.django_db(transaction=True)
def test_a_task_is_started_by_name_after_the_commit(redis_client):
    with transaction.atomic():
        wake.enqueue_on_commit("notifyweb.canary")
        assert redis_client.llen("celery:canary") == 0
    assert redis_client.llen("celery:canary") == 1
    body = redis_client.lindex("celery:canary", 0)
    assert b'"content-type": "application/json"' in body
    assert b"notifyweb.canary" in body


def waiting(redis_client, queue="outbound"):
    return redis_client.llen(f"celery:{queue}")


@pytest.mark.django_db(transaction=True)
def test_a_task_has_one_wake_up_waiting_until_it_starts(redis_client):
    for _ in range(100):
        wake.enqueue_on_commit("castserver.deliver_due_webhooks")
    assert waiting(redis_client) == 1
    wake.wake_up_started("castserver.deliver_due_webhooks")
    wake.enqueue_on_commit("castserver.deliver_due_webhooks")
    assert waiting(redis_client) == 2


@pytest.mark.django_db(transaction=True)
def test_wake_ups_of_other_tasks_and_other_rows_are_apart(redis_client):
    wake.enqueue_on_commit("tests.unregistered", 1)
    wake.enqueue_on_commit("tests.unregistered", 2)
    wake.enqueue_on_commit("tests.unregistered")
    assert waiting(redis_client, "messages") == 3


@pytest.mark.django_db(transaction=True)
def test_a_later_wake_up_does_not_hold_back_an_earlier_one(redis_client):
    wake.enqueue_on_commit("subscriptions.resolve_dapp", delay_s=60)
    wake.enqueue_on_commit("subscriptions.resolve_dapp", delay_s=60)
    wake.enqueue_on_commit("subscriptions.resolve_dapp", delay_s=5)
    wake.enqueue_on_commit("subscriptions.resolve_dapp")
    assert waiting(redis_client) == 3


@pytest.mark.django_db(transaction=True)
def test_a_lost_wake_up_holds_back_others_for_seconds_only(redis_client):
    wake.enqueue_on_commit("castserver.deliver_due_webhooks")
    [key] = redis_client.scan_iter("wake-up:*")
    assert 0 < redis_client.pttl(key) <= wake.TASK_KEY_S * 1000
    redis_client.delete("celery:outbound")
    wake.forget_wake_ups()
    wake.enqueue_on_commit("castserver.deliver_due_webhooks")
    assert waiting(redis_client) == 1


@pytest.mark.django_db(transaction=True)
def test_an_absent_redis_costs_little_and_raises_nothing(no_redis):
    started = time.monotonic()
    with transaction.atomic():
        wake.wake("gateway")
    heartbeat.beat("worker")
    assert time.monotonic() - started < 1


def test_signs_of_life_age(redis_client):
    heartbeat.beat("worker")
    ages = heartbeat.ages(["worker", "absent"])
    assert 0 <= ages["worker"] < 5
    assert ages["absent"] is None
