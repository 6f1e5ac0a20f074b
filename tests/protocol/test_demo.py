"""``manage.py demo`` against the whole system, as a person starts both."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from tests.system import System
from walletconnect.notify.steps import Step

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def sights(system):
    done = system.manage("demo", "--json", timeout=180)
    return [json.loads(line) for line in done.stdout.splitlines() if line]


def test_it_shows_the_twenty_steps_in_their_order(sights):
    shown = [sight for sight in sights if isinstance(sight["step"], int)]
    assert [sight["step"] for sight in shown] == list(Step)
    for sight in shown:
        assert sight["actor"] == Step(sight["step"]).actor
        datetime.fromisoformat(sight["at"])
        assert isinstance(sight["wire"], dict)


def test_it_shows_the_notification_on_both_devices_and_its_receipt(sights):
    around = [sight for sight in sights if isinstance(sight["step"], str)]
    assert [(sight["step"], sight["actor"]) for sight in around] == [
        ("sign-in", "W1"),
        ("sign-in", "Wx"),
        ("sync", "W1"),
        ("notify", "Cast Server"),
        ("message", "W1"),
        ("message", "Wx"),
        ("receipt", "Cast Server"),
    ]


def test_it_leaves_no_account_behind(system, sights):
    count = (
        "from accounts.models import Account; "
        "print(Account.objects.filter(is_demo=True).count())"
    )
    done = system.manage("shell", "-c", count)
    assert done.stdout.strip().splitlines()[-1] == "0"


def test_an_unreachable_dapp_is_reported_with_exit_code_1(system):
    done = system.manage(
        "demo", "--dapp", "http://localhost:9", "--patience", "5", check=False
    )
    assert done.returncode != 0
    assert "not seen" in done.stderr or "did.json" in done.stderr


def test_without_a_running_system_it_explains_how_to_start_one():
    stopped = System()
    try:
        done = stopped.manage("demo", check=False)
        assert done.returncode != 0
        assert "make run" in done.stderr
    finally:
        stopped.remove()
