"""Devices: named, seen, renamed, revoked; as old as their sessions may get."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session

from accounts import services as accounts
from accounts.models import AuditEntry, Device
from accounts.sessions import session_digest
from common import clock
from tests.people import (
    ALICE,
    BOB,
    CHARLIE,
    CHROME_WINDOWS,
    FIREFOX_MAC,
    new_session,
    sign_in,
)

pytestmark = pytest.mark.django_db

SAFARI_IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1"
)
EDGE = CHROME_WINDOWS + " Edg/120.0.0.0"
CHROME_ANDROID = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Mobile Safari/537.36"
)


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (FIREFOX_MAC, "Firefox · Mac"),
        (CHROME_WINDOWS, "Chrome · Windows"),
        (EDGE, "Edge · Windows"),
        (SAFARI_IPHONE, "Safari · iPhone"),
        (CHROME_ANDROID, "Chrome · Android"),
        ("curl/8.0", "curl"),
        ("", "Browser"),
        ("<script>alert(1)</script>", "Browser"),
    ],
)
def test_a_device_is_named_after_its_browser(user_agent, name):
    assert accounts.device_name(user_agent) == name


def test_a_user_agent_is_kept_cut_and_on_one_line():
    device = sign_in(ALICE, user_agent="Firefox/1\nforged line" + "x" * 400)
    assert "\n" not in device.user_agent
    assert len(device.user_agent) == 256


def test_a_session_finds_its_device():
    device = sign_in(ALICE)
    assert accounts.device_of_session(device.session) == device


@pytest.mark.parametrize("key", [None, "", "not a session of anybody"])
def test_no_session_no_device(key):
    sign_in(ALICE)
    assert accounts.device_of_session(key) is None


def test_the_session_key_itself_is_not_in_the_database():
    device = sign_in(ALICE)
    stored = Device.objects.get(pk=device.pk).session_digest
    assert stored == session_digest(device.session) != device.session
    assert accounts.device_of_session(stored) is None


def test_a_device_has_one_session_and_a_session_one_device():
    first = sign_in(ALICE)
    second = sign_in(BOB)
    accounts.bind_session(second, first.session)
    assert accounts.device_of_session(first.session) == second
    assert accounts.device_of_session(second.session) is None
    first.refresh_from_db()
    assert not first.is_active()


def test_being_seen_is_noted_at_most_once_a_minute(django_assert_num_queries):
    device = sign_in(ALICE)
    start = device.last_seen_at
    with clock.frozen(start + timedelta(seconds=59)), django_assert_num_queries(1):
        accounts.device_of_session(device.session)
    assert Device.objects.get(pk=device.pk).last_seen_at == start
    with clock.frozen(start + timedelta(seconds=61)):
        accounts.device_of_session(device.session)
    seen = Device.objects.get(pk=device.pk).last_seen_at
    assert seen == start + timedelta(seconds=61)


def test_an_idle_session_ends_after_a_week():
    device = sign_in(ALICE)
    start = device.last_seen_at
    with clock.frozen(start + timedelta(days=7) - timedelta(seconds=1)):
        assert accounts.device_of_session(device.session) == device
    with clock.frozen(start + timedelta(days=14)):
        assert accounts.device_of_session(device.session) is None


def test_a_busy_session_ends_after_a_month_all_the_same():
    device = sign_in(ALICE)
    start = device.proved_at
    for day in range(1, 30):
        with clock.frozen(start + timedelta(days=day)):
            assert accounts.device_of_session(device.session) == device
    with clock.frozen(start + timedelta(days=30)):
        assert accounts.device_of_session(device.session) is None


def test_a_wallet_that_signs_again_starts_the_month_anew():
    device = sign_in(ALICE)
    later = device.proved_at + timedelta(days=20)
    Device.objects.filter(pk=device.pk).update(last_seen_at=later)
    with clock.frozen(later):
        assert not accounts.is_fresh(device)
        accounts.prove_device(device)
        assert accounts.is_fresh(device)
    Device.objects.filter(pk=device.pk).update(last_seen_at=later + timedelta(days=14))
    with clock.frozen(later + timedelta(days=15)):
        assert accounts.device_of_session(device.session) == device


def test_the_sweep_ends_expired_devices_only():
    idle, old, unbound, living = (sign_in(ALICE) for _ in range(4))
    now = clock.now()
    devices = Device.objects
    devices.filter(pk=idle.pk).update(last_seen_at=now - timedelta(days=8))
    devices.filter(pk=old.pk).update(proved_at=now - timedelta(days=31))
    devices.filter(pk=unbound.pk).update(
        session_digest="", proved_at=now - timedelta(minutes=11)
    )
    assert accounts.expire_devices() == 3
    assert accounts.expire_devices() == 0
    assert list(devices.active()) == [living]


def test_a_device_is_renamed():
    device = sign_in(ALICE)
    accounts.rename_device(device, "  Kitchen\ttablet ")
    assert Device.objects.get(pk=device.pk).name == "Kitchen�tablet"
    accounts.rename_device(device, "x" * 100)
    assert len(Device.objects.get(pk=device.pk).name) == 64
    accounts.rename_device(device, "   ")
    assert Device.objects.get(pk=device.pk).name == "Firefox · Mac"


def revoked(hints) -> list[dict]:
    return [
        each
        for hint in hints.received()
        if hint["type"] == "devices.revoked"
        for each in hint["devices"]
    ]


def test_revoking_deletes_the_session_and_notifies_the_device(
    django_capture_on_commit_callbacks, hints
):
    first, second = sign_in(ALICE), sign_in(ALICE, user_agent=CHROME_WINDOWS)
    with django_capture_on_commit_callbacks(execute=True):
        assert accounts.revoke_device(second, by=first)
        assert hints.received() == []
    assert revoked(hints) == [
        {"user": second.user_id, "device": str(second.pk), "by": "Firefox · Mac"}
    ]
    assert accounts.device_of_session(second.session) is None
    assert accounts.device_of_session(first.session) == first
    rows = Session.objects.filter(session_key=session_digest(second.session))
    assert not rows.exists()


def test_revoking_unregisters_the_identity_key():
    device = sign_in(ALICE)
    key = device.identity_keys.get()
    accounts.revoke_device(device, by=None)
    key.refresh_from_db()
    assert key.retired_at is not None


def test_signing_out_ends_the_session_but_not_the_inbox(
    django_capture_on_commit_callbacks, hints
):
    device = sign_in(ALICE)
    with django_capture_on_commit_callbacks(execute=True):
        assert accounts.sign_out_device(device)
    assert accounts.device_of_session(device.session) is None
    assert len(revoked(hints)) == 1
    assert device.identity_keys.get().retired_at is None
    assert not accounts.sign_out_device(device)
    assert AuditEntry.objects.filter(action="device.signed-out").count() == 1


def test_a_device_that_is_over_leaves_no_key_if_another_one_can_sign():
    away, here = sign_in(ALICE), sign_in(ALICE)
    Device.objects.filter(pk=away.pk).update(
        last_seen_at=clock.now() - timedelta(days=8)
    )
    assert accounts.expire_devices() == 1
    assert away.identity_keys.get().retired_at is not None
    assert here.identity_keys.get().retired_at is None


def test_the_last_key_is_kept_until_the_next_sign_in():
    first, second = sign_in(ALICE), sign_in(ALICE)
    Device.objects.update(last_seen_at=clock.now() - timedelta(days=8))
    assert accounts.expire_devices() == 2
    assert first.identity_keys.get().retired_at is not None
    assert second.identity_keys.get().retired_at is None
    sign_in(ALICE)
    assert second.identity_keys.get().retired_at is not None


def test_revoking_twice_is_revoking_once():
    first, second = sign_in(ALICE), sign_in(ALICE)
    assert accounts.revoke_device(second, by=first)
    at = Device.objects.get(pk=second.pk).revoked_at
    assert not accounts.revoke_device(second, by=first)
    assert Device.objects.get(pk=second.pk).revoked_at == at
    assert AuditEntry.objects.filter(action="device.revoked").count() == 1


def test_signing_out_everywhere_leaves_this_device_and_other_people():
    here, there, bob = sign_in(ALICE), sign_in(ALICE), sign_in(BOB)
    revoked = accounts.revoke_other_devices(here)
    assert revoked == [there]
    assert set(Device.objects.active()) == {here, bob}


def test_charlie_keeps_his_session_when_alice_loses_hers():
    alice, charlie = sign_in(ALICE), sign_in(CHARLIE)
    accounts.revoke_device(alice, by=None)
    assert accounts.device_of_session(charlie.session) == charlie


def test_a_user_who_was_locked_out_has_no_device():
    device = sign_in(ALICE)
    device.user.is_active = False
    device.user.save()
    assert accounts.device_of_session(device.session) is None


def test_after_a_restore_every_session_and_cursor_is_void():
    alice, bob = sign_in(ALICE), sign_in(BOB)
    heads = [accounts.head_of(device.user_id) for device in (alice, bob)]
    assert accounts.start_generation() == 2
    for device, head in zip((alice, bob), heads, strict=True):
        assert accounts.device_of_session(device.session) is None
        missed = accounts.catch_up(
            device.user, head.sequence, generation=head.generation
        )
        assert missed.refetch
    assert not Session.objects.exists()


def test_an_unbound_device_gives_no_access():
    device = sign_in(ALICE)
    Device.objects.filter(pk=device.pk).update(session_digest="")
    assert accounts.device_of_session("") is None
    assert accounts.device_of_session(new_session().session_key) is None
