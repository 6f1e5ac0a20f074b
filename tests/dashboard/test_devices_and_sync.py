"""Devices, the sync log and the settings."""

from __future__ import annotations

import json
import re
from datetime import timedelta

from accounts.models import Account, Device
from common import clock
from syncstore.models import StoreUpdate
from tests.dashboard.conftest import text_of
from tests.people import ALICE, ALICE_SECOND

# --- devices --------------------------------------------------------------------------


def test_this_device_comes_first_and_is_marked(alice):
    first, second = alice.browsers
    for browser, name in ((first, "Firefox · Mac"), (second, "Chrome · Windows")):
        page = text_of(browser.get("/devices"))
        assert page.index(f"{name} This device here") < page.index("Last seen")


def test_the_page_explains_what_the_server_can_see(alice):
    page = text_of(alice.get("/devices"))
    assert "The server holds this session's keys, encrypted" in page
    assert "It cannot recall what that device has already shown" in page


def test_it_counts_who_subscribed_and_who_received(alice, subscription):
    first, second = alice.browsers
    assert "1 started here (W1), 0 received (Wx)" in text_of(first.get("/devices"))
    assert "0 started here (W1), 1 received (Wx)" in text_of(second.get("/devices"))


def test_a_device_is_renamed(alice):
    alice.get("/devices")
    alice.post(f"/devices/{alice.device.pk}/rename", name="Kitchen <b>laptop</b>")
    page = alice.get("/devices")
    assert "Kitchen &lt;b&gt;laptop" in page.text
    assert "<b>laptop" not in page.text


def test_every_other_device_is_signed_out_at_once(alice):
    first, second = alice.browsers
    first.get("/devices")
    assert "One other device was signed out." in text_of(
        first.follow(first.post("/devices/others/revoke"))
    )
    assert second.get("/inbox").status_code == 302
    assert Device.objects.active().filter(user=alice.user).get() == first.device


# --- the sync log ---------------------------------------------------------------------


def test_without_sync_it_is_offered(bob):
    page = bob.get("/sync")
    assert "No shared store yet" in text_of(page)
    assert f"/signin/share?account={bob.account.pk}" in page.text


def test_every_update_is_listed_with_its_reason(alice, subscription):
    page = text_of(alice.get("/sync"))
    assert re.search("Acme DAO: (alerts, news|news, alerts)", page)
    assert "applied" in page
    assert "is the first update of this key." in page
    assert "Firefox · Mac" in page


def test_an_older_update_is_explained(alice, subscription):
    update = StoreUpdate.objects.get()
    StoreUpdate.objects.create(
        store=update.store,
        key=update.key,
        action="set",
        rpc_id=update.rpc_id - 5,
        previous_id=update.rpc_id,
        outcome="stale",
        source="relay",
        at=clock.now(),
    )
    page = text_of(alice.get("/sync?outcome=stale"))
    assert "older, ignored" in page
    assert f"{update.rpc_id - 5} is not above {update.rpc_id}" in page
    assert "another wallet" in page
    assert "is the first update" not in page


def test_the_log_is_exported_without_secrets(alice, dapp, subscription):
    answer = alice.get("/sync/log.json")
    (row,) = json.loads(answer.text)["updates"]
    assert (row["outcome"], row["key"]) == ("applied", subscription.topic)
    assert dapp.key_of(alice.account).hex() not in answer.text
    assert "attachment" in answer.headers["Content-Disposition"]


def test_the_log_of_other_users_is_not_shown(charlie, alice, subscription):
    assert "Acme" not in charlie.get("/sync").text
    assert json.loads(charlie.get("/sync/log.json").text)["updates"] == []


# --- settings -------------------------------------------------------------------------


def test_an_account_gets_a_name(alice):
    alice.get("/settings")
    alice.post(f"/settings/accounts/{alice.account.pk}", label="Savings")
    assert "Savings" in text_of(alice.get("/inbox"))


def test_the_appearance_is_in_the_first_response(alice):
    alice.get("/settings")
    alice.post("/settings/look", theme="dark", density="compact", next="/settings")
    page = alice.get("/settings")
    assert '<html lang="en" data-theme="dark" data-density="compact">' in page.text
    alice.post("/settings/look", theme="neon", next="/settings")
    assert 'data-theme="dark"' in alice.get("/settings").text


def test_a_broken_cookie_does_no_harm(stranger):
    stranger.client.cookies["theme"] = '"><script>'
    stranger.client.cookies["zone"] = "../../etc/passwd"
    page = stranger.get("/")
    assert page.status_code == 200
    assert 'data-theme="system"' in page.text


def test_times_are_in_the_browsers_zone(alice, notify):
    record = notify()
    alice.browser.client.cookies["zone"] = "Asia/Tokyo"
    page = alice.get("/inbox").text
    local = record.published_at + timedelta(hours=9)
    assert f">{local:%H:%M}</time>" in page


def test_removing_an_account_needs_a_recent_signature(alice):
    path = f"/settings/accounts/{alice.account.pk}/remove"
    alice.get("/settings")
    with clock.frozen(clock.now() + timedelta(minutes=11)):
        answer = alice.post(path, confirm="yes")
        assert answer.headers["Location"].startswith("/signin/again?next=%2Fsettings")
    assert Account.objects.filter(address=ALICE.account).exists()


def test_removing_an_account_needs_confirmation_and_deletes_its_data(alice, notify):
    notify()
    path = f"/settings/accounts/{alice.account.pk}/remove"
    alice.get("/settings")
    alice.post(path)
    assert Account.objects.filter(address=ALICE.account).exists()
    assert alice.post(path, confirm="yes").headers["Location"] == "/"
    assert not Account.objects.filter(address=ALICE.account).exists()
    assert alice.get("/inbox").status_code == 302


def test_with_two_accounts_one_can_be_selected(alice, notify):
    notify(title="For the first")
    browser = alice.browser
    browser.follow(browser.begin(ALICE_SECOND.address))
    browser.post("/signin/prove", signature=browser.sign(ALICE_SECOND))
    assert "For the first" in alice.get("/inbox").text
    other = ALICE_SECOND.row()
    assert "For the first" not in alice.get(f"/inbox?account={other.pk}").text
    page = text_of(alice.get("/inbox"))
    assert "All accounts" in page
    assert "Sync is off for" in page
