"""Real workers, which die at the worst moment."""

from __future__ import annotations

import pytest

from messaging import services
from messaging.models import InboxClaim, OutboxMessage, Party
from tests.messaging.conftest import (
    envelope,
    make_key,
    published_numbers,
    received,
    states,
    wait_for,
)
from tests.messaging.echo.handlers import ECHO_TAG

pytestmark = pytest.mark.system

SETTINGS = {"DJANGO_SETTINGS_MODULE": "tests.messaging.echo_settings"}


@pytest.fixture
def start_worker(start_program):
    def start(**environment: str):
        return start_program(
            "-c",
            "from celery.__main__ import main; main()",
            "-A",
            "notifyweb",
            "worker",
            "--concurrency=2",
            **SETTINGS,
            **environment,
        )

    return start


def all_handled(count: int):
    return lambda: states() == ["handled"] * count


def test_a_real_worker_answers_what_comes_in(
    start_gateway, recording_relay, start_worker
):
    key = make_key()
    start_gateway(recording_relay.url)
    wait_for(recording_relay.clients)
    start_worker()
    for number in range(5):
        recording_relay.deliver(key.topic, [envelope(key, number)], tag=ECHO_TAG)
    wait_for(lambda: len(recording_relay.published) == 5, seconds=60)
    assert published_numbers(recording_relay, key) == [(key.topic, n) for n in range(5)]
    assert states() == ["handled"] * 5


@pytest.mark.parametrize(
    ("failpoint", "effects"), [("inbox.before_commit", 0), ("inbox.after_commit", 50)]
)
def test_a_worker_killed_around_the_commit_has_every_effect_once(
    start_worker, failpoint, effects
):
    key = make_key()
    services.receive(
        Party.WALLET, [received(key, envelope(key, n), ECHO_TAG) for n in range(50)]
    )
    victim = start_worker(NOTIFYWEB_FAILPOINTS=failpoint)
    wait_for(
        lambda: InboxClaim.objects.exists() or states().count("handled"),
        seconds=60,
    )
    wait_for(lambda: "SIGKILL" in victim.log.read_text(), seconds=60)
    victim.kill()
    assert OutboxMessage.objects.count() == effects
    # The next worker claims the rows at once, without a wake-up or the end of the lease.
    start_worker()
    wait_for(all_handled(50), seconds=30)
    assert OutboxMessage.objects.count() == 50


def test_workers_killed_again_and_again_do_each_message_once(start_worker):
    keys = [make_key() for _ in range(10)]
    for number in range(600):
        key = keys[number % 10]
        message = received(key, envelope(key, number), ECHO_TAG)
        services.receive(Party.WALLET, [message])

    def at_work() -> int:
        claimed = InboxClaim.objects.values_list("messages", flat=True)
        return states().count("handled") + sum(map(len, claimed))

    for _ in range(3):
        before = states().count("handled")
        worker = start_worker()
        wait_for(lambda: at_work() > before or before == 600, seconds=60)  # noqa: B023
        worker.kill()
    start_worker()
    wait_for(all_handled(600), seconds=60)
    assert OutboxMessage.objects.count() == 600
