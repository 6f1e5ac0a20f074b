"""Attribution of changes to devices, and conflicts between forms on two devices."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from accounts.models import Device
from common import clock
from subscriptions.services import renew_subscriptions
from syncstore.models import StoreUpdate
from tests.dashboard.conftest import Browser, text_of
from tests.dashboard.test_subscriptions import checked
from tests.people import ALICE, FIREFOX_MAC
from tests.subscriptions.world import deliver


def seen(page) -> list[str]:
    return re.findall(r'name="seen" value="([^"]*)"', page.text)


def submit(browser, path, page, *types):
    """The form of ``page`` with these switches on."""
    browser.get(path)
    return browser.post(
        f"{path}/update", **{"from": "form"}, seen=seen(page), type=list(types)
    )


@pytest.fixture
def path(subscription) -> str:
    return f"/subscriptions/{subscription.topic}"


# --- names ----------------------------------------------------------------------------


def test_two_browsers_of_a_kind_have_two_names():
    names = []
    for _ in range(3):
        names.append(Browser(FIREFOX_MAC).sign_in(ALICE).device.name)
    assert names == ["Firefox · Mac", "Firefox · Mac 2", "Firefox · Mac 3"]


def test_the_name_of_an_ended_device_is_free_again(alice):
    first, _ = alice.browsers
    first.get("/devices")
    first.post("/signout")
    assert Browser(FIREFOX_MAC).sign_in(ALICE).device.name == "Firefox · Mac"


@pytest.mark.parametrize("wanted", ["Chrome · Windows", "chrome · windows"])
def test_device_names_are_unique(alice, wanted):
    alice.get("/devices")
    page = alice.follow(alice.post(f"/devices/{alice.device.pk}/rename", name=wanted))
    assert f"Renamed to {wanted} 2." in text_of(page)
    alice.post(f"/devices/{alice.device.pk}/rename", name=f"{wanted} 2")
    assert alice.device.name == f"{wanted} 2"
    alice.post(f"/devices/{alice.device.pk}/rename", name="x" * 64)
    assert alice.device.name == "x" * 64


def test_long_names_stay_within_their_column(alice):
    first, second = alice.browsers
    for browser in (first, second):
        browser.get("/devices")
        browser.post(f"/devices/{browser.device.pk}/rename", name="x" * 64)
    assert first.device.name == "x" * 64
    assert second.device.name == "x" * 62 + " 2"


# --- the log --------------------------------------------------------------------------


def test_a_change_is_logged_with_the_device_that_asked_for_it(
    alice, dapp, subscription, path
):
    first, second = alice.browsers
    submit(second, path, second.get(path), "news")
    assert "Other types asked for on Chrome · Windows" in text_of(second.get(path))
    deliver(dapp.answer_update(alice.account))
    made = StoreUpdate.objects.order_by("pk").last()
    assert made.device == second.device
    log = text_of(first.get("/sync"))
    assert "Chrome · Windows W1" in log
    assert "Made by Chrome · Windows (W1)" in log
    assert "Held by Firefox · Mac (Wx), this device" in log
    assert "Held by Chrome · Windows (Wx)" in log
    life = text_of(first.get(path))
    assert "Written to Sync by Chrome · Windows (W1)" in life
    assert "Last changed on Chrome · Windows" in life
    assert "(this device)" in text_of(second.get(path))


def test_a_renewal_is_attributed_to_no_device(alice, dapp, subscription, path):
    submit(alice, path, alice.get(path), "news")
    deliver(dapp.answer_update(alice.account))
    subscription.refresh_from_db()
    subscription.expiry = clock.now_s() + 2 * 3600
    subscription.save(update_fields=["expiry"])
    with clock.frozen(clock.now() + timedelta(hours=1)):
        assert renew_subscriptions() == 1
        deliver(dapp.answer_update(alice.account))
    assert StoreUpdate.objects.order_by("pk").last().device is None
    page = text_of(alice.get("/sync"))
    assert "this server, by itself" in page
    assert "Last changed on Firefox · Mac" in text_of(alice.get(path))


def test_an_ended_device_is_marked_in_the_log(alice, dapp, subscription, path):
    first, second = alice.browsers
    submit(second, path, second.get(path), "news")
    deliver(dapp.answer_update(alice.account))
    first.get("/devices")
    first.post(f"/devices/{second.device.pk}/revoke")
    assert "Chrome · Windows (signed out)" in text_of(first.get("/sync"))
    assert "Chrome · Windows (signed out)" in text_of(first.get(path))
    assert Device.objects.active().count() == 1


def test_the_twenty_steps_name_their_devices(alice, subscription):
    attempt = subscription.attempts.get()
    page = text_of(alice.get(f"/subscriptions/attempt/{attempt.pk}"))
    assert "Who Firefox · Mac (W1)" in page
    assert "Who Chrome · Windows (Wx)" in page


# --- forms that are open elsewhere ------------------------------------------------------


def test_a_change_from_another_device_is_not_overwritten(
    alice, dapp, subscription, path
):
    first, second = alice.browsers
    open_form = first.get(path)
    submit(second, path, second.get(path), "news")
    deliver(dapp.answer_update(alice.account))
    # The first device still shows both types on, and switches "news" off.
    page = first.follow(submit(first, path, open_form, "alerts"))
    assert "changed on Chrome · Windows" in text_of(page)
    assert "You chose on; it is off now." in text_of(page)
    assert "You chose off; it is on now." in text_of(page)
    assert checked(page) == {"alerts"}
    subscription.refresh_from_db()
    assert subscription.effective_types == {"news"}
    assert subscription.pending_update is None
    # Keeping what holds is a link; saving asks for what the person chose.
    assert checked(first.get(path)) == {"news"}
    submit(first, path, page, "alerts")
    subscription.refresh_from_db()
    assert subscription.effective_types == {"alerts"}


def test_a_pending_change_counts_as_well(alice, subscription, path):
    first, second = alice.browsers
    open_form = first.get(path)
    submit(second, path, second.get(path))
    page = first.follow(submit(first, path, open_form, "alerts"))
    assert "changed on Chrome · Windows" in text_of(page)
    subscription.refresh_from_db()
    assert subscription.effective_types == set()


def test_the_same_choice_on_two_devices_is_no_conflict(alice, subscription, path):
    first, second = alice.browsers
    open_form = first.get(path)
    submit(second, path, second.get(path), "news")
    page = first.follow(submit(first, path, open_form, "news"))
    assert "changed on" not in text_of(page).partition("Last changed on")[0]
    assert checked(page) == {"news"}


def test_a_refused_change_leaves_the_switches_as_they_were_pressed(
    alice, subscription, path
):
    page = alice.follow(submit(alice, path, alice.get(path), "news", "gone"))
    assert "does not offer: gone" in text_of(page)
    assert checked(page) == {"news"}
    assert "while you were choosing" not in text_of(page)


def test_a_change_by_another_wallet_is_attributed_to_it(alice, subscription, path):
    open_form = alice.get(path)
    subscription.scope["news"]["enabled"] = False
    subscription.note_change(None, clock.now())
    subscription.save()
    page = alice.follow(submit(alice, path, open_form, "news"))
    assert "changed on another wallet" in text_of(page)
