"""Devices, the sync log and the settings."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest

from accounts.models import Account, Device
from common import clock
from keychain.services import Holder, sym_keys
from messaging.models import OutboxMessage
from syncstore.models import DeviceCursor, Store, StoreCheck, StoreUpdate
from syncstore.services import check_due
from tests.dashboard.conftest import text_of
from tests.people import ALICE, ALICE_SECOND
from tests.syncstore.conftest import Peer, state_of
from walletconnect.crypto.keys import SymKey
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE
from walletconnect.sync.store import StoreDelete, StoreSet

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


@pytest.fixture
def wallet(alice, subscription):
    """Another wallet of the account, with the key of the specification's store."""
    store = Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE)
    return Peer(store, sym_keys(Holder.WALLET, [store.topic])[store.topic])


def value_here(store, key) -> str:
    return state_of(store)[key]


def test_an_update_that_arrives_late_is_listed_as_older_and_ignored(
    alice, subscription, wallet
):
    line = StoreUpdate.objects.get()
    value = json.loads(value_here(line.store, line.key))
    value["scope"]["news"]["enabled"] = not value["scope"]["news"]["enabled"]
    wallet.send(StoreSet(line.key, json.dumps(value), line.rpc_id - 5))
    page = text_of(alice.get("/sync?outcome=stale"))
    assert "older, ignored" in page
    assert f"{line.rpc_id - 5} is not above {line.rpc_id}" in page
    assert "another wallet" in page
    assert "scope.news.enabled" in page
    assert "It would have changed this, and was ignored." in page
    assert "is the first update" not in page


def test_an_update_sent_twice_is_listed_as_duplicate(alice, subscription, wallet):
    line = StoreUpdate.objects.get()
    # Sealed anew, so that the relay and the inbox take it as another message.
    wallet.send(StoreSet(line.key, value_here(line.store, line.key), line.rpc_id))
    page = text_of(alice.get("/sync?outcome=duplicate"))
    assert "duplicate" in page
    assert f"{line.rpc_id} was received before." in page


def test_a_changed_value_is_shown_without_its_key(alice, dapp, subscription, wallet):
    line = StoreUpdate.objects.get()
    text = value_here(line.store, line.key)
    value = json.loads(text)
    other = SymKey(b"o" * 32)
    value["metadata"]["name"] = "Acme <b>Ltd</b>"
    value["symKey"] = other.hex()
    wallet.send(StoreSet(line.key, json.dumps(value), line.rpc_id + 5))
    page = alice.get("/sync")
    assert dapp.key_of(alice.account).hex() not in page.text
    assert other.hex() not in page.text
    changes = {
        each["path"]: (each["old"], each["new"])
        for each in StoreUpdate.objects.latest("pk").changes
    }
    assert changes["symKey"] == ("••••", "••••")
    assert changes["metadata.name"] == ("Acme DAO", "Acme <b>Ltd</b>")
    assert "Acme &lt;b&gt;Ltd" in page.text


def test_own_and_foreign_writes_have_a_latency(alice, subscription, wallet):
    line = StoreUpdate.objects.get()
    assert "not on the relay yet" in text_of(alice.get("/sync"))
    sent_at = line.at + timedelta(milliseconds=1234)
    OutboxMessage.objects.filter(pk=line.outbox_id).update(
        state="sent", sent_at=sent_at
    )
    assert "on the relay 1.2 s later" in text_of(alice.get("/sync"))
    wallet.send(StoreDelete("other", line.rpc_id + 1))
    assert "after the relay" in text_of(alice.get("/sync"))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=acme", {"applied"}),
        ("q=ACME&outcome=stale", set()),
        ("q=firefox", {"applied"}),
        ("q=too%20long%20key", set()),
        ("who=elsewhere", {"stale"}),
        ("who=history", set()),
        ("store=com.notifyweb.preferences", set()),
        ("store=com.walletconnect.notify.notifySubscription", {"applied", "stale"}),
        ("store=unknown&who=nobody&outcome=none&until=x", {"applied", "stale"}),
        ("who=00000000-0000-0000-0000-000000000000", set()),
    ],
)
def test_the_log_is_searched_and_filtered(alice, subscription, wallet, query, expected):
    line = StoreUpdate.objects.get()
    wallet.send(StoreDelete(line.key, line.rpc_id - 1))
    StoreUpdate.objects.filter(outcome="stale").update(key="f" * 64, note="")
    lines = alice.get(f"/sync/log.jsonl?{query}").getvalue().decode().splitlines()
    assert {json.loads(each)["outcome"] for each in lines} == expected
    assert alice.get(f"/sync?{query}").text.count('id="update-') == len(expected)


def test_a_device_and_an_id_are_found(alice, subscription):
    line = StoreUpdate.objects.get()
    second = alice.browsers[1].device
    for query, count in (
        (f"who={line.device_id}", 1),
        (f"who={second.pk}", 0),
        (f"q={line.rpc_id}", 1),
        (f"q={line.rpc_id + 1}", 0),
        (f"q={line.key}", 1),
    ):
        assert alice.get(f"/sync?{query}").text.count('id="update-') == count, query


def test_a_paused_page_counts_what_it_does_not_show(alice, subscription, wallet):
    line = StoreUpdate.objects.get()
    wallet.send(StoreDelete("other", line.rpc_id + 1))
    page = text_of(alice.get(f"/sync?until={line.pk}"))
    assert "Paused. 1 newer update is not shown." in page
    assert "unsubscribed; it was not here" not in page
    assert "unsubscribed; it was not here" in text_of(alice.get("/sync"))


def test_the_log_is_exported_as_json_lines_without_secrets(alice, dapp, subscription):
    answer = alice.get("/sync/log.jsonl")
    (line,) = answer.getvalue().decode().splitlines()
    row = json.loads(line)
    assert (row["outcome"], row["key"]) == ("applied", subscription.topic)
    assert row["author"] == alice.device.name
    assert {"path": "symKey", "old": None, "new": "••••"} in row["changes"]
    assert dapp.key_of(alice.account).hex() not in line
    assert "attachment" in answer.headers["Content-Disposition"]


def test_the_log_of_other_users_is_not_shown(charlie, alice, subscription):
    assert "Acme" not in charlie.get("/sync?q=acme").text
    assert charlie.get("/sync/log.jsonl").getvalue() == b""


# --- comparing with the archive -------------------------------------------------------


def test_the_stores_are_compared_with_the_archive(alice, subscription, wallet, archive):
    line = StoreUpdate.objects.get()
    sent = OutboxMessage.objects.get(pk=line.outbox_id)
    archive.keep(sent.topic, sent.message)
    alice.get("/sync")
    alice.post("/sync/verify")
    assert "being compared" in text_of(alice.get("/sync"))
    assert check_due()
    assert not check_due()
    page = text_of(alice.get("/sync"))
    assert page.count("identical") == 2
    assert "messages in the archive: 1; keys there: 1, here: 1" in page


def test_differences_with_the_archive_are_listed_and_nothing_is_changed(
    alice, subscription, wallet, archive
):
    line = StoreUpdate.objects.get()
    OutboxMessage.objects.update(state="sent")
    value, topic = value_here(line.store, line.key), line.store.topic
    missing = StoreSet("lost", "here", line.rpc_id + 1)
    newer = StoreSet("both", "b", line.rpc_id + 3)
    for update in (missing, newer, StoreSet("forged", "true", line.rpc_id)):
        archive.keep(topic, wallet.message(update)[0])
    wallet.send(
        StoreSet("both", "a", line.rpc_id + 2),
        StoreSet("forged", "false", line.rpc_id),
    )
    before = state_of(line.store)
    alice.get("/sync")
    alice.post("/sync/verify")
    assert check_due()
    report = StoreCheck.objects.get().reports[0]
    found = {each["key"]: each["kind"] for each in report["differences"]}
    assert found == {
        "lost": "missing here",
        "both": "older here",
        "forged": "value differs",
        line.key: "not in the archive",
    }
    page = alice.get("/sync")
    assert "4 differences" in text_of(page)
    assert value not in page.text
    assert state_of(line.store) == before


def test_an_unreachable_archive_is_reported(alice, subscription, archive):
    archive.status = 503
    alice.get("/sync")
    alice.post("/sync/verify")
    assert check_due()
    row = StoreCheck.objects.get()
    assert (row.state, bool(row.reason), row.reports) == ("running", True, [])
    assert row.reason in text_of(alice.get("/sync"))


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


# --- what a device has; a new epoch ----------------------------------------------------


def test_a_device_shows_its_accounts_position_pending_changes_and_first_network(
    alice, subscription
):
    first, second = alice.browsers
    page = text_of(first.get("/devices"))
    assert "from 127.0.0.1" in page
    assert "at the newest update" in page
    # The store update of the subscription is not on the relay yet.
    assert "1 change is not confirmed yet" in page
    OutboxMessage.objects.update(state="sent")
    assert "is not confirmed yet" not in text_of(first.get("/devices"))
    DeviceCursor.objects.filter(device=second.device).update(update_pk=0)
    assert "1 update behind" in text_of(first.get("/devices"))


def test_the_network_of_the_first_request_is_kept(alice):
    browser = alice.browser
    browser.client.get("/inbox", REMOTE_ADDR="198.51.100.77")
    assert browser.device.first_network == "127.0.0.1"
    Device.objects.filter(pk=browser.device.pk).update(first_network="")
    browser.client.get("/inbox", REMOTE_ADDR="198.51.100.77")
    assert browser.device.first_network == "198.51.100.0/24"


def test_revoking_offers_a_new_epoch(alice):
    second = alice.browsers[1].device
    page = alice.get(f"/devices/{second.pk}/revoke")
    assert "start a new epoch afterwards" in text_of(page)
    assert "/devices#epoch" in page.text
    assert "If keys may have leaked" in text_of(alice.get("/devices"))


def test_a_new_epoch_is_explained_and_started_with_the_signature(alice, subscription):
    path = f"/devices/epoch/{alice.account.pk}"
    assert alice.get(path).headers["Location"].startswith("/signin/again?next=")
    browser = alice.browser
    browser.follow(browser.begin(ALICE.address, again="yes", next=path))
    there = browser.post("/signin/prove", signature=browser.sign(ALICE))
    assert there.headers["Location"] == path
    page = alice.get(path)
    assert "Every dapp is left and subscribed to anew" in text_of(page)
    assert 'data-auto="yes"' not in page.text
    text = alice.get(f"/signin/text/2?account={alice.account.pk}").text
    alice.get(path)
    page = alice.follow(alice.post(path, signature=ALICE.sign(text)))
    assert "Epoch 2 has begun; 1 dapp is subscribed to anew." in text_of(page)
    assert set(Store.objects.values_list("epoch", flat=True)) == {2}


def test_a_new_epoch_needs_a_recent_and_fitting_signature_of_the_owner(
    alice, bob, subscription
):
    path = f"/devices/epoch/{alice.account.pk}"
    assert bob.get(path).status_code == 404
    alice.get("/devices")
    with clock.frozen(clock.now() + timedelta(minutes=11)):
        answer = alice.post(path, signature="0x")
        assert answer.headers["Location"].startswith("/signin/again?next=%2Fdevices")
    alice.get("/devices")
    for signature in ("", "0x00", ALICE.sign("another text")):
        assert alice.post(path, signature=signature).status_code == 422
    assert set(Store.objects.values_list("epoch", flat=True)) == {1}
    subscription.refresh_from_db()
    assert subscription.deleted_at is None
