"""Quiet hours across midnight, weekends and clock changes; mutes and their ends."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest

from alerts.models import AlertSettings, Mute
from alerts.services import preferences
from alerts.services.preferences import PreferenceError, end_of_quiet
from common import clock


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "weekends", "zone", "now", "end"),
    [
        ((22, 7), False, "UTC", "2026-11-25T21:59", None),
        ((22, 7), False, "UTC", "2026-11-25T22:00", "2026-11-26T07:00"),
        ((22, 7), False, "UTC", "2026-11-26T06:59", "2026-11-26T07:00"),
        ((22, 7), False, "UTC", "2026-11-26T07:00", None),
        ((9, 17), False, "UTC", "2026-11-26T12:00", "2026-11-26T17:00"),
        ((8, 8), False, "UTC", "2026-11-26T08:00", None),
        # Half past ten in Berlin is half past nine in UTC.
        ((22, 7), False, "Europe/Berlin", "2026-11-25T21:30", "2026-11-26T06:00"),
        # Clocks go forward in the night: 07:00 is 05:00 UTC, not 06:00.
        ((22, 7), False, "Europe/Berlin", "2026-03-28T22:00", "2026-03-29T05:00"),
        ((22, 7), False, "Asia/Kathmandu", "2026-11-25T17:00", "2026-11-26T01:15"),
        # Friday night, the weekend and the night to Monday are one quiet time.
        ((22, 7), True, "UTC", "2026-11-27T23:00", "2026-11-30T07:00"),
        ((8, 8), True, "UTC", "2026-11-28T12:00", "2026-11-30T00:00"),
        ((8, 8), True, "UTC", "2026-11-27T23:59", None),
    ],
)
def test_quiet_time_ends_when_it_should(hours, weekends, zone, now, end):
    row = AlertSettings(
        quiet_from=time(hours[0]),
        quiet_until=time(hours[1]),
        quiet_weekends=weekends,
        time_zone=zone,
    )
    assert end_of_quiet(row, at(now)) == (at(end) if end else None)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [
        {"time_zone": "Mars/Olympus"},
        {"time_zone": ""},
        {"start": "25:00"},
        {"end": ""},
        {"start": "22:00+02:00"},
    ],
)
def test_what_is_no_time_is_refused(alice, change):
    form = {"start": "22:00", "end": "07:00", "weekends": False, "time_zone": "UTC"}
    with pytest.raises(PreferenceError):
        preferences.save_quiet_hours(alice.user, **form | change)
    assert not AlertSettings.objects.exists()


@pytest.mark.django_db
def test_mutes_end_by_themselves(alice):
    account = alice.account
    preferences.mute(account, "https://a.example", "", "1h")
    preferences.mute(account, "https://b.example", "news", "on")
    mutes = preferences.active_mutes([account.pk])
    assert preferences.is_muted(mutes, account.pk, "https://a.example", "any")
    assert preferences.is_muted(mutes, account.pk, "https://b.example", "news")
    assert not preferences.is_muted(mutes, account.pk, "https://b.example", "alerts")
    with clock.frozen(clock.now() + timedelta(hours=1, seconds=1)):
        mutes = preferences.active_mutes([account.pk])
        assert not preferences.is_muted(mutes, account.pk, "https://a.example", "any")
        assert preferences.prune() == 1
    assert preferences.unmute(account, "https://b.example", "news")
    assert not preferences.unmute(account, "https://b.example", "news")


@pytest.mark.django_db
def test_muting_again_changes_the_end(alice):
    for duration in ("1h", "7d", "on"):
        preferences.mute(alice.account, "https://a.example", "", duration)
    assert Mute.objects.get().until is None
    with pytest.raises(PreferenceError):
        preferences.mute(alice.account, "https://a.example", "", "3 weeks")
