"""Two devices change one thing at the same moment: one wins, the other one is older."""

from __future__ import annotations

from django.db import transaction

from alerts.models import Mute
from alerts.services.preferences import mute_change
from common import clock
from preferences import services as preferences
from preferences.models import DappPreferences
from syncstore.models import StoreUpdate
from tests.dashboard.conftest import text_of
from tests.preferences.conftest import DAPP, stored
from tests.syncstore.conftest import published_on, state_of


def test_the_higher_id_wins_although_it_arrives_first(alice, store, other):
    first, second = (browser.device for browser in alice.browsers)
    with transaction.atomic():
        preferences.collide(
            alice.account,
            DAPP,
            [
                (mute_change(DAPP, "", "1h"), first),
                (mute_change(DAPP, "", "8h"), second),
            ],
        )
    lines = list(StoreUpdate.objects.filter(store=store).order_by("pk"))
    assert [(line.outcome, line.device) for line in lines] == [
        ("applied", second),
        ("stale", first),
    ]
    assert lines[0].rpc_id > lines[1].rpc_id
    # Here, in the store and in the order of publication: one result.
    winner = stored(store)
    assert winner["mutes"][""]["by"].startswith(second.name)
    assert DappPreferences.objects.get().value == winner
    end = Mute.objects.get().until.timestamp() * 1000
    assert abs(end - winner["mutes"][""]["until"]) < 1
    assert end > clock.now_ms() + 7 * 3_600_000
    sent = published_on(other)
    assert [update.id for update in sent] == [lines[0].rpc_id, lines[1].rpc_id]
    before = state_of(store)
    other.send(*reversed(sent))
    assert state_of(store) == before


def test_the_button_of_the_demo_ticks_its_step(alice, subscription, settings):
    settings.DEMO = True
    alice.get("/demo")
    page = alice.follow(alice.post("/demo/collide"))
    assert "Both muted Acme DAO at the same moment." in text_of(page)
    assert 'id="script-7" data-done="yes"' in alice.get("/demo").text
    log = text_of(alice.get("/sync?outcome=stale"))
    assert "older, ignored" in log


def test_one_device_alone_cannot_collide(alice, subscription, settings):
    from accounts.services import revoke_other_devices

    settings.DEMO = True
    revoke_other_devices(alice.device)
    alice.get("/demo")
    page = alice.follow(alice.post("/demo/collide"))
    assert "Open a second device and subscribe to a dapp first." in text_of(page)
    assert not StoreUpdate.objects.filter(outcome="stale").exists()


def test_outside_the_demo_there_is_no_such_button(alice, subscription, settings):
    settings.DEMO = False
    alice.get("/inbox")
    assert alice.post("/demo/collide").status_code == 404
    assert alice.post("/demo/online", sequence="1").status_code == 404


def test_what_was_missed_is_counted(alice, notify, settings):
    settings.DEMO = True
    alice.get("/demo")
    sequence = alice.user.event_sequence
    alice.user.refresh_from_db()
    sequence = alice.user.event_sequence
    page = alice.follow(alice.post("/demo/online", sequence=str(sequence)))
    assert "Make at least three in the other window." in text_of(page)
    assert 'id="script-8" data-done="no"' in page.text
    for number in range(3):
        notify(title=str(number))
    page = alice.follow(alice.post("/demo/online", sequence=str(sequence)))
    assert "changes while this window was away; nothing was lost." in text_of(page)
    assert 'id="script-8" data-done="yes"' in page.text
    for hostile in ("", "-1", "x" * 50, "9" * 30):
        alice.get("/demo")
        assert alice.post("/demo/online", sequence=hostile).status_code == 302
