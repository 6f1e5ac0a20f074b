"""What is left of a project's rates: headers of the API, and the meter of the console."""

from __future__ import annotations

import dataclasses

import pytest

from castserver.services.projects.projects import create_project
from common import limits
from common.limits import Bucket
from dashboard.pages.limits import describe, meters_of

STANDARD = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")


def body(title="Hello"):
    notification = {"type": "alerts", "title": title, "body": "World"}
    return {"notification": notification, "accounts": ["eip155:1:0x" + "0" * 40]}


def standard(answer) -> tuple[int, ...]:
    return tuple(int(answer[name]) for name in STANDARD)


def test_every_call_names_limit_remainder_and_refill(api, settings):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, notify_project=Bucket(2, 0.5), cast_call=Bucket(3, 0.1)
    )
    assert standard(api.post("notify", body())) == (2, 1, 2)
    # Reading has a rate of its own.
    assert standard(api.get("subscribers")) == (3, 2, 10)
    exposed = api.get("subscribers")["Access-Control-Expose-Headers"]
    assert all(name in exposed for name in STANDARD)


def test_a_refused_call_has_them_too_and_says_when_to_come_back(api, settings):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, notify_project=Bucket(1, 0.01)
    )
    api.post("notify", body())
    answer = api.post("notify", body("Again"))
    assert answer.status_code == 429
    limit, remaining, reset = standard(answer)
    assert (limit, remaining) == (1, 0)
    # One token makes the bucket full here: both name the same pause.
    assert reset == int(answer["Retry-After"])
    assert 90 <= reset <= 100


def test_the_meter_shows_use_and_refill_and_uses_nothing_up(api, project, settings):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, notify_project=Bucket(4, 0.01)
    )
    for _ in range(3):
        api.post("notify", body())
    for _ in range(2):
        meter = meters_of(project).rates[0]
        assert (meter.used, meter.most) == (3, 4)
        assert 250 <= meter.reset <= 300
        assert not meter.is_exhausted
    api.post("notify", body())
    assert meters_of(project).rates[0].is_exhausted
    other, _ = create_project("Other", url="https://other.example.org")
    meter = meters_of(other).rates[0]
    assert (meter.used, meter.reset) == (0, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("20+2/s", "20 at once, then 2 per second"),
        ("50+2/h", "50 at once, then 2 per hour"),
        ("10+10/h", "10 at once, then 10 per hour"),
        ("5+12/min", "5 at once, then 12 per minute"),
        ("3+2/d", "3 at once, then 2 per day"),
    ],
)
def test_a_rate_in_words(text, words):
    assert describe(limits.Bucket.parse(text)) == words
