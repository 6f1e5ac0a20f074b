"""Token buckets: a burst passes, then the rate; the caller learns when to return."""

from __future__ import annotations

import dataclasses
import time

import pytest

from common import limits
from common.connections import shared_redis
from common.limits import Bucket, Limits, configured_limits


@pytest.fixture
def fast_bucket(settings, redis_client):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, failed_sign_in=Bucket(burst=2, per_second=20)
    )


@pytest.fixture
def no_redis(settings, tmp_path):
    settings.REDIS_URL = f"unix://{tmp_path}/absent.sock"
    shared_redis.cache_clear()
    limits._script.cache_clear()
    yield
    shared_redis.cache_clear()
    limits._script.cache_clear()


def test_a_burst_passes_and_the_next_request_waits(redis_client):
    verdicts = [limits.consume("failed_sign_in", "alice") for _ in range(31)]
    assert [verdict.allowed for verdict in verdicts] == [True] * 30 + [False]
    assert 1 <= verdicts[-1].retry_after <= 60


def test_one_key_does_not_pay_for_another(redis_client):
    limits.consume("failed_sign_in", "alice", cost=30)
    assert limits.consume("failed_sign_in", "bob").allowed


def test_one_limit_does_not_pay_for_another(redis_client):
    limits.consume("failed_sign_in", "alice", cost=30)
    assert limits.consume("notify_project", "alice").allowed


def test_a_refused_request_costs_nothing(redis_client):
    assert not limits.consume("failed_sign_in", "alice", cost=31).allowed
    assert limits.consume("failed_sign_in", "alice", cost=30).allowed


def test_tokens_come_back_with_time(fast_bucket):
    assert limits.consume("failed_sign_in", "alice", cost=2).allowed
    assert not limits.consume("failed_sign_in", "alice").allowed
    deadline = time.monotonic() + 2
    while not limits.consume("failed_sign_in", "alice").allowed:
        assert time.monotonic() < deadline


def test_a_full_bucket_is_forgotten(fast_bucket, redis_client):
    limits.consume("failed_sign_in", "alice")
    assert 0 < redis_client.ttl("limit:failed_sign_in:alice") <= 2


def test_a_batch_is_answered_in_its_order(redis_client):
    limits.consume("failed_sign_in", "bob", cost=30)
    verdicts = limits.consume_all("failed_sign_in", ["alice", "bob", "charlie"])
    assert [verdict.allowed for verdict in verdicts] == [True, False, True]
    assert limits.consume_all("failed_sign_in", []) == []


def test_of_many_keys_only_the_refused_ones_are_named(redis_client):
    limits.consume("failed_sign_in", "bob", cost=30)
    limits.consume("failed_sign_in", "alice", cost=29)
    assert limits.refused("failed_sign_in", ["alice", "bob", "charlie"]) == ["bob"]
    # That took a token of each.
    assert limits.refused("failed_sign_in", ["alice", "charlie"]) == ["alice"]
    assert limits.refused("failed_sign_in", []) == []


def test_the_answer_names_limit_remainder_and_pause(redis_client):
    assert limits.consume("failed_sign_in", "alice").headers() == {
        "X-RateLimit-Limit": "30",
        "X-RateLimit-Remaining": "29",
    }
    limits.consume("failed_sign_in", "alice", cost=29)
    headers = limits.consume("failed_sign_in", "alice").headers()
    assert headers["X-RateLimit-Remaining"] == "0"
    assert 1 <= int(headers["Retry-After"]) <= 60


def test_calls_pass_quickly_while_redis_is_down(no_redis):
    started = time.monotonic()
    assert limits.consume("failed_sign_in", "alice", cost=30).allowed
    assert limits.consume("failed_sign_in", "alice", cost=30).allowed
    assert time.monotonic() - started < 1


def test_a_bound_is_no_rate(settings):
    with pytest.raises(TypeError):
        limits.consume("history_page", "alice")


def test_limits_are_changed_by_name():
    changed = configured_limits(
        "history_page=50, notify_subscriber=5+3/min",
        demo=False,
        strict_spam_rule=False,
    )
    assert changed.history_page == 50
    assert changed.notify_subscriber == Bucket(5, 0.05)
    assert changed.webhooks_per_project == Limits().webhooks_per_project


def test_the_strict_spam_rule_is_one_an_hour():
    strict = configured_limits("", demo=True, strict_spam_rule=True)
    assert strict.notify_subscriber == Bucket(1, 1 / 3600)


def test_the_demo_lets_a_person_send_many():
    demo = configured_limits("", demo=True, strict_spam_rule=False)
    assert demo.notify_subscriber.burst > Limits().notify_subscriber.burst


@pytest.mark.parametrize(
    "text", ["x=1", "history_page=a", "history_page=-1", "notify_list=0+1/s", "a"]
)
def test_a_wrong_limit_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        configured_limits(text, demo=False, strict_spam_rule=False)
