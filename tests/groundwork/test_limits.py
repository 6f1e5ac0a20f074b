"""Token buckets: a burst passes, then the rate; the caller learns when to return."""

from __future__ import annotations

import pytest

from groundwork import limits


@pytest.fixture(autouse=True)
def _empty_redis(redis_client):
    pass


def test_a_burst_passes_and_the_next_request_waits():
    verdicts = [limits.take("failed_sign_in", "alice") for _ in range(31)]
    assert [verdict.allowed for verdict in verdicts] == [True] * 30 + [False]
    assert 1 <= verdicts[-1].retry_after <= 60


def test_one_key_does_not_pay_for_another():
    limits.take("failed_sign_in", "alice", cost=30)
    assert limits.take("failed_sign_in", "bob").allowed
