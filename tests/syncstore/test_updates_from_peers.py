"""What other wallets of the account send, through the relay's inbox to the store."""

from __future__ import annotations

import json

import pytest

from accounts.models import AccountEvent
from messaging.models import InboxMessage, OutboxMessage
from syncstore import registry
from syncstore.models import DeviceCursor, StoreUpdate
from syncstore.registry import AppliedUpdate, Consequences
from tests.syncstore.conftest import log_of, state_of
from walletconnect.sync.store import (
    MAX_KEY_LENGTH,
    StoreDelete,
    StoreSet,
)


def request(method="wc_syncSet", request_id=7, **params):
    body = {"id": request_id, "jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(body)


def test_sets_and_deletes_arrive(peer, store):
    peer.send(StoreSet("a", "1", 1), StoreSet("b", "2", 2), StoreDelete("a", 3))
    assert state_of(store) == {"b": "2"}
    assert not OutboxMessage.objects.exists(), "updates are not answered"


def test_the_log_has_the_size_of_the_envelope(peer, store):
    message, tag = peer.message(StoreSet("k", "é" * 100, 1))
    peer.deliver((message, tag))
    assert StoreUpdate.objects.get().size == len(message)


def test_the_same_message_twice_is_one_update(peer, store):
    message = peer.message(StoreSet("k", "v", 1))
    peer.deliver(message, message)
    peer.deliver(message)
    assert log_of(store) == [("k", 1, "applied", "relay")]


def test_the_same_update_in_another_envelope_is_a_duplicate(peer, store):
    peer.send(StoreSet("k", "v", 1))
    peer.send(StoreSet("k", "v", 1))
    assert [outcome for *_, outcome, _ in log_of(store)] == ["applied", "duplicate"]


def test_events_are_recorded_only_for_changes(alice, peer, store):
    AccountEvent.objects.all().delete()
    peer.send(StoreSet("k", "v", 5))
    peer.send(StoreSet("k", "old", 4))
    kinds = AccountEvent.objects.filter(user=alice.user).values_list("kind", flat=True)
    assert list(kinds) == ["sync.update"]


def test_cursors_of_all_active_devices_of_the_account_move_and_no_others(
    alice, charlie, peer, store
):
    peer.send(StoreSet("k", "v", 1))
    newest = StoreUpdate.objects.latest("pk").pk
    moved = DeviceCursor.objects.filter(update_pk=newest)
    assert {cursor.device for cursor in moved} == set(alice.devices)


HOSTILE = {
    "id of zero": request(key="k", value="v", request_id=0),
    "negative id": request(key="k", value="v", request_id=-1),
    "id of 2**53": request(key="k", value="v", request_id=2**53),
    "id as text": request(key="k", value="v", request_id="7"),
    "no key": request(value="v"),
    "no value": request(key="k"),
    "value is an object": request(key="k", value={"a": 1}),
    "key too long": request(key="k" * (MAX_KEY_LENGTH + 1), value="v"),
    "value too long": request(key="k", value="v" * (128 * 1024 + 1)),
    "zero character in the key": request(key="k\x00", value="v"),
    "another method": request(method="wc_sessionPropose", key="k", value="v"),
    "an answer": json.dumps({"id": 7, "jsonrpc": "2.0", "result": True}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_malformed_updates_are_logged_and_have_no_effect(name, peer, store):
    peer.send(StoreSet("k", "before", 5))
    peer.deliver(peer.seal(HOSTILE[name]))
    assert state_of(store) == {"k": "before"}
    line = StoreUpdate.objects.latest("pk")
    assert line.outcome == StoreUpdate.Outcome.REFUSED
    assert line.reason
    assert InboxMessage.objects.latest("pk").state == InboxMessage.State.REFUSED


def test_one_hostile_update_does_not_hold_up_the_others(peer, store):
    good = peer.message(StoreSet("k", "v", 9))
    peer.deliver(peer.seal(HOSTILE["no key"]), good, peer.seal("not json"))
    assert state_of(store) == {"k": "v"}


def test_messages_above_the_rate_wait_and_are_not_lost(peer, store, settings):
    import dataclasses

    from common.limits import Bucket

    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, sync_topic=Bucket(3, 0.000001)
    )
    peer.send(*(StoreSet(f"k{each}", "v", each) for each in range(1, 6)))
    assert sorted(state_of(store)) == ["k1", "k2", "k3"]
    waiting = InboxMessage.objects.filter(state=InboxMessage.State.DUE)
    assert waiting.count() == 2


@pytest.fixture
def owner(store, monkeypatch):
    """The app that owns the store, as the registry knows it."""
    received: list[AppliedUpdate] = []

    def hook(_store, applied):
        received.extend(applied)
        return Consequences(notes={each.key: f"{each.key} came" for each in applied})

    monkeypatch.setitem(registry._applied_hooks, store.name, hook)
    return received


def test_the_stores_owner_gets_the_winner_of_each_key(owner, peer, store):
    peer.send(StoreSet("a", "1", 1), StoreSet("a", "2", 3), StoreSet("a", "0", 2))
    assert [(each.key, each.value, each.rpc_id) for each in owner] == [("a", "2", 3)]
    notes = StoreUpdate.objects.order_by("pk").values_list("rpc_id", "note")
    assert list(notes) == [(1, ""), (3, "a came"), (2, "")]


def test_the_stores_owner_gets_no_stale_updates(owner, peer, store):
    peer.send(StoreDelete("a", 5))
    peer.send(StoreSet("a", "late", 4))
    assert [(each.key, each.value) for each in owner] == [("a", None)]


def test_an_owner_that_fails_undoes_only_its_own_update(peer, store, monkeypatch):
    def hook(_store, applied):
        if any(each.key == "bad" for each in applied):
            raise ZeroDivisionError

    monkeypatch.setitem(registry._applied_hooks, store.name, hook)
    peer.send(StoreSet("good", "1", 1), StoreSet("bad", "2", 2))
    assert state_of(store) == {"good": "1"}
