"""Mutes and blocks travel through the store, both ways, and hostile values change nothing."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from alerts.models import Mute
from alerts.services import preferences as mutes
from common import clock
from messaging.models import OutboxMessage
from preferences.models import DappPreferences
from preferences.services import EPOCH_KEY
from subscriptions import services
from subscriptions.models import BlockedDapp, NotifyMessageRecord, Subscription
from subscriptions.services.errors import DappBlocked
from syncstore.models import Store, StoreEntry, StoreUpdate
from syncstore.services import enable_sync, message_to_sign
from tests.dashboard.conftest import text_of
from tests.people import ALICE
from tests.preferences.conftest import (
    DAPP,
    blocked,
    mute_until,
    newest_id,
    stored,
)
from tests.preferences.test_document import HOSTILE
from tests.subscriptions.world import deliver
from tests.syncstore.conftest import published_on, state_of
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE
from walletconnect.sync.store import StoreDelete, StoreSet


def send(other, document, key: str = DAPP, update_id: int | None = None) -> int:
    update_id = clock.payload_id() if update_id is None else update_id
    text = document if isinstance(document, str) else json.dumps(document)
    other.send(StoreSet(key, text, update_id))
    return update_id


def muted(alice) -> dict[tuple[str, str], object]:
    rows = Mute.objects.filter(account=alice.account)
    return {(row.dapp_url, row.type): row.until for row in rows}


# --- from here ---------------------------------------------------------------------------


def test_a_mute_is_written_into_the_store_with_time_and_author(alice, store, other):
    before = clock.now_ms()
    mutes.mute(alice.account, DAPP, "news", "on", device=alice.device)
    mute = stored(store)["mutes"]["news"]
    assert mute["until"] is None
    assert before <= mute["at"] <= clock.now_ms()
    assert mute["by"].startswith(alice.device.name)
    (update,) = published_on(other)
    assert update.key == DAPP
    mutes.unmute(alice.account, DAPP, "news", device=alice.device)
    assert stored(store)["mutes"]["news"]["until"] == 0
    assert stored(store)["mutes"]["news"]["at"] > mute["at"]


def test_the_store_of_the_specification_stays_as_it_is(alice, subscription, store):
    notify_store = Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE)
    before = state_of(notify_store), notify_store.last_id
    sent = OutboxMessage.objects.filter(topic=notify_store.topic).count()
    mutes.mute(alice.account, subscription.dapp_url, "", "7d", device=alice.device)
    notify_store.refresh_from_db()
    assert (state_of(notify_store), notify_store.last_id) == before
    assert OutboxMessage.objects.filter(topic=notify_store.topic).count() == sent
    assert store.topic != notify_store.topic


def test_a_block_is_shared_with_what_was_on_before(alice, subscription, store):
    before = sorted(subscription.effective_types)
    services.block(subscription, alice.device)
    block = stored(store, subscription.dapp_url)["block"]
    assert block["on"] is True
    assert block["types"] == before
    services.unblock(BlockedDapp.objects.get(), alice.device)
    assert stored(store, subscription.dapp_url)["block"]["on"] is False


def test_without_sync_a_preference_is_kept_and_announced_when_sync_is_turned_on(bob):
    from syncstore.services import cold_start  # noqa: F401

    mutes.mute(bob.account, DAPP, "", "on", device=bob.device)
    assert DappPreferences.objects.get().value["mutes"][""]["until"] is None
    assert not Store.objects.filter(account=bob.account).exists()


def test_an_account_from_before_gets_the_store_with_its_next_signature(alice, store):
    store.delete()
    mutes.mute(alice.account, DAPP, "", "on", device=alice.device)
    signature = ALICE.sign(message_to_sign(alice.account))
    made = {
        each.name: each for each in enable_sync(alice.account, signature, alice.device)
    }
    assert made[store.name].topic == store.topic
    from preferences.services import announce

    announce(made[store.name])
    assert stored(made[store.name])["mutes"][""]["until"] is None


# --- from another device -----------------------------------------------------------------


def test_a_mute_of_another_server_is_in_force_and_its_author_is_in_the_log(
    alice, store, other
):
    end = clock.now_ms() + 3_600_000
    send(other, {"mutes": {"news": mute_until(end)}})
    assert set(muted(alice)) == {(DAPP, "news")}
    line = StoreUpdate.objects.get(store=store)
    assert (line.outcome, line.author) == ("applied", "Phone · other.example")
    assert {"path": "mutes.news.until", "old": None, "new": str(end)} in line.changes
    send(other, {"mutes": {"news": mute_until(0)}})
    assert muted(alice) == {}


def test_a_block_of_another_server_is_in_force(alice, dapp, subscription, other):
    value = {"block": blocked(name="Acme", types=["news"])}
    send(other, value, key=subscription.dapp_url)
    deliver(dapp.notification(alice.account))
    assert not NotifyMessageRecord.objects.exists()
    assert "You blocked this dapp" in text_of(
        alice.get(f"/subscriptions/{subscription.topic}")
    )
    services.delete_subscription(subscription, alice.device)
    with pytest.raises(DappBlocked):
        services.subscribe(alice.account, dapp.url, device=alice.device)
    send(other, {"block": blocked(on=False)}, key=subscription.dapp_url)
    assert not BlockedDapp.objects.exists()


def test_offline_changes_of_different_types_are_merged_and_written_again(
    alice, store, other
):
    mutes.mute(alice.account, DAPP, "news", "on", device=alice.device)
    # The other server has not received this yet, and writes with a higher id.
    send(other, {"mutes": {"gm": mute_until(None)}}, update_id=newest_id(store) + 5)
    assert set(muted(alice)) == {(DAPP, "news"), (DAPP, "gm")}
    assert set(stored(store)["mutes"]) == {"news", "gm"}
    # The other one finds nothing newer in it, and neither do we: it ends here.
    last = published_on(other)[-1]
    count = OutboxMessage.objects.count()
    send(other, last.value, update_id=last.id + 1)
    assert OutboxMessage.objects.count() == count
    log = list(
        StoreUpdate.objects.filter(store=store).order_by("pk").values_list("source")
    )
    assert log == [("device",), ("relay",), ("device",), ("relay",)]


def test_an_older_change_with_a_higher_id_does_not_win(alice, store, other):
    mutes.mute(alice.account, DAPP, "", "on", device=alice.device)
    old = mute_until(0, at=clock.now_ms() - 60_000)
    send(other, {"mutes": {"": old}}, update_id=newest_id(store) + 5)
    assert muted(alice) == {(DAPP, ""): None}
    assert stored(store)["mutes"][""]["until"] is None


def test_a_local_change_wins_over_a_clock_that_is_ahead(alice, store, other):
    ahead = clock.now_ms() + 3_600_000
    send(other, {"mutes": {"": mute_until(None, at=ahead)}})
    assert mutes.unmute(alice.account, DAPP, "", device=alice.device)
    assert stored(store)["mutes"][""]["at"] == ahead + 1
    assert muted(alice) == {}


def test_unknown_members_are_kept(alice, store, other):
    value = {
        "mutes": {"": mute_until(None) | {"sound": "gong"}},
        "colour": "blue",
        "pin": {"at": 5, "by": "x", "place": 1},
    }
    send(other, value)
    mutes.mute(alice.account, DAPP, "news", "on", device=alice.device)
    kept = stored(store)
    assert (kept["colour"], kept["pin"]["place"]) == ("blue", 1)
    assert kept["mutes"][""]["sound"] == "gong"


def test_replays_change_nothing(alice, store, other):
    value = {"mutes": {"": mute_until(None)}}
    first = send(other, value)
    mutes.unmute(alice.account, DAPP, "", device=alice.device)
    before = OutboxMessage.objects.count()
    send(other, value, update_id=first)
    send(other, value, update_id=first - 1)
    assert muted(alice) == {}
    assert OutboxMessage.objects.count() == before
    # The same text under a new id is older than what is here, and is answered with it.
    send(other, value, update_id=newest_id(store) + 1)
    assert muted(alice) == {}
    assert stored(store)["mutes"][""]["until"] == 0


def test_a_deleted_key_is_written_again(alice, store, other):
    mutes.mute(alice.account, DAPP, "", "on", device=alice.device)
    other.send(StoreDelete(DAPP, newest_id(store) + 1))
    assert muted(alice) == {(DAPP, ""): None}
    assert stored(store)["mutes"][""]["until"] is None


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_values_change_nothing(alice, store, other, name):
    mutes.mute(alice.account, DAPP, "news", "7d", device=alice.device)
    before, kept = muted(alice), DappPreferences.objects.get().document
    hostile = HOSTILE[name]
    if isinstance(hostile, dict) and "future" in name:
        # Against the clock of this test.
        late = clock.now_ms() + 48 * 3_600_000
        hostile = json.loads(json.dumps(hostile))
        for each in (hostile.get("mutes", {}).get(""), hostile.get("block")):
            if each:
                each["at"] = late
    send(other, hostile, update_id=newest_id(store) + 1)
    send(other, hostile, key="https://other.example")
    assert muted(alice) == before
    assert not BlockedDapp.objects.exists()
    assert DappPreferences.objects.get().document == kept
    # What was here is in the store again, for a device that comes later.
    assert stored(store)["mutes"]["news"]["until"] is not None
    notes = StoreUpdate.objects.filter(store=store, source="relay")
    assert all(each.note.startswith("not applied") for each in notes)


@pytest.mark.parametrize(
    "key", ["acme", "HTTPS://acme.example", "https://acme.example/"]
)
def test_a_key_that_is_not_a_normalized_address_has_no_effect(alice, other, key):
    send(other, {"block": blocked()}, key=key)
    assert not DappPreferences.objects.exists()
    assert not BlockedDapp.objects.exists()


def test_a_flood_of_dapps_stops_at_the_limit(alice, store, other, settings):
    import dataclasses

    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, preferences_per_account=3, mutes_per_account=2
    )
    for number in range(6):
        send(
            other,
            {"mutes": {"": mute_until(None)}},
            key=f"https://{number}.example",
        )
    assert DappPreferences.objects.count() == 3
    assert len(muted(alice)) == 2
    assert StoreEntry.objects.filter(store=store).count() == 6
    with pytest.raises(mutes.PreferenceError):
        mutes.mute(alice.account, DAPP, "", "on", device=alice.device)


def test_a_store_that_cannot_be_written_does_not_stop_a_mute(alice, store, other):
    send(other, {"mutes": {"news": mute_until(0)}}, update_id=2**53 - 1)
    mutes.mute(alice.account, DAPP, "", "on", device=alice.device)
    assert muted(alice) == {(DAPP, ""): None}


def test_another_persons_preferences_are_not_touched(alice, bob, other):
    send(other, {"block": blocked(), "mutes": {"": mute_until(None)}})
    assert not Mute.objects.filter(account=bob.account).exists()
    assert not BlockedDapp.objects.filter(account=bob.account).exists()


def test_both_browsers_show_it_live(alice, subscription, other):
    from accounts.models import AccountEvent

    before = AccountEvent.objects.count()
    value = {"mutes": {"": mute_until(None)}}
    send(other, value, key=subscription.dapp_url)
    subject = f"subscriptions.subscription:{subscription.pk}"
    new = AccountEvent.objects.order_by("pk")[before:]
    assert subject in {event.subject for event in new}
    for browser in alice.browsers:
        page = text_of(browser.get(f"/subscriptions/{subscription.topic}"))
        assert "muted" in page


def test_a_mute_ends_by_itself_and_the_document_is_not_changed(alice, store):
    mutes.mute(alice.account, DAPP, "", "1h", device=alice.device)
    text = DappPreferences.objects.get().document
    with clock.frozen(clock.now() + timedelta(hours=2)):
        assert mutes.prune() == 1
    assert DappPreferences.objects.get().document == text
    assert Subscription.objects.count() == 0


# --- a new epoch --------------------------------------------------------------------------


def start_epoch(alice) -> None:
    signature = ALICE.sign(message_to_sign(alice.account))
    services.start_new_epoch(alice.account, signature, alice.device)


def test_a_new_epoch_is_announced_in_the_store_that_is_left(alice, store, other):
    start_epoch(alice)
    (update,) = [each for each in published_on(other) if each.key == EPOCH_KEY]
    announced = json.loads(update.value)
    assert announced["epoch"] == 2
    assert announced["by"].startswith(alice.device.name)
    # The server that started it is not asked to.
    assert "A new epoch was started" not in alice.get("/inbox").text


def test_a_server_that_receives_the_announcement_asks_to_start_the_epoch(
    alice, store, other
):
    assert "A new epoch was started" not in alice.get("/inbox").text
    send(other, {"epoch": 2, "at": clock.now_ms(), "by": "there"}, key=EPOCH_KEY)
    assert not DappPreferences.objects.exists()
    for path in ("/inbox", "/subscriptions", "/sync"):
        page = alice.get(path)
        assert "A new epoch was started" in page.text
        assert f'href="/devices/epoch/{alice.account.pk}"' in page.text
    assert "on another server" in text_of(alice.get("/sync"))
    start_epoch(alice)
    assert "A new epoch was started" not in alice.get("/inbox").text


@pytest.mark.parametrize("value", ["", "[]", "{", "x" * 900])
def test_a_hostile_announcement_shows_no_more_than_the_advice(
    alice, store, other, value
):
    send(other, value, key=EPOCH_KEY)
    assert alice.get("/sync").status_code == 200
    assert store.epoch == Store.objects.get(pk=store.pk).epoch
    other.send(StoreDelete(EPOCH_KEY, clock.payload_id()))
    assert "A new epoch was started" not in alice.get("/inbox").text
