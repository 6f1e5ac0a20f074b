"""Our own devices write: state and message in one transaction, ids that always win."""

from __future__ import annotations

import pytest
from django.db import transaction

from common import clock
from keychain.services import Holder, forget
from messaging.models import OutboxMessage
from syncstore import services
from syncstore.models import DeviceCursor, Store, StoreEntry, StoreUpdate
from syncstore.services import store_delete, store_set
from tests.syncstore.conftest import log_of, published_on, state_of
from walletconnect.errors import LocalProtocolError
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE
from walletconnect.sync.store import StoreDelete, StoreSet

NEVER = 2**53 - 1


@pytest.fixture
def set_(alice, store):
    def write(values, **more):
        return store_set(
            alice.account.pk, store.name, values, device=alice.device, **more
        )

    return write


@pytest.fixture
def delete(alice, store):
    def write(*keys):
        return store_delete(alice.account.pk, store.name, keys, device=alice.device)

    return write


def test_a_set_is_applied_here_and_published_once(set_, store, peer):
    set_({"k": "v"})
    assert state_of(store) == {"k": "v"}
    (update,) = published_on(peer)
    assert update == StoreSet("k", "v", update.id)
    assert log_of(store) == [("k", update.id, "applied", "device")]
    row = OutboxMessage.objects.get()
    assert (row.party, row.tag, row.ttl, row.prompt) == ("wallet", 5000, 2592000, False)


def test_a_delete_leaves_its_id_behind(set_, delete, store, peer):
    set_({"k": "v"})
    delete("k")
    assert state_of(store) == {}
    first, second = published_on(peer)
    assert second == StoreDelete("k", second.id)
    assert StoreEntry.objects.get().last_id == second.id > first.id


def test_an_unchanged_value_publishes_nothing(set_, store):
    set_({"k": "v"})
    assert set_({"k": "v"}) == []
    assert OutboxMessage.objects.count() == 1
    assert len(log_of(store)) == 1


def test_deleting_an_absent_key_publishes_nothing(set_, delete):
    assert delete("never was") == []
    set_({"k": "v"})
    delete("k")
    assert delete("k") == []
    assert OutboxMessage.objects.count() == 2


def test_only_the_changed_ones_of_many_keys_are_published(set_, peer):
    set_({"a": "1", "b": "2"})
    set_({"a": "1", "b": "3", "c": "4"})
    assert [(each.key, each.value) for each in published_on(peer)[2:]] == [
        ("b", "3"),
        ("c", "4"),
    ]


def test_a_write_overtakes_every_id_of_the_store(set_, store, peer):
    ahead = clock.payload_id() + 10**12
    peer.send(StoreSet("other", "from a clock that is ahead", ahead))
    set_({"k": "v"})
    assert published_on(peer)[-1].id == ahead + 1


def test_used_up_ids_of_one_key_do_not_stop_the_others(set_, store, peer):
    peer.send(StoreSet("stuck", "for ever", NEVER))
    set_({"k": "v"})
    assert published_on(peer)[-1].id < NEVER
    with pytest.raises(LocalProtocolError):
        set_({"stuck": "changed"})
    assert state_of(store) == {"stuck": "for ever", "k": "v"}


def test_a_write_is_undone_with_its_callers_transaction(set_, store):
    with transaction.atomic():
        set_({"k": "v"})
        transaction.set_rollback(True)
    assert state_of(store) == {}
    assert OutboxMessage.objects.count() == 0
    assert Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE).last_id == 0


def test_every_device_of_the_account_moves(alice, set_, store, charlie):
    set_({"k": "v"})
    newest = StoreUpdate.objects.latest("pk").pk
    moved = DeviceCursor.objects.filter(store=store, update_pk=newest)
    assert {cursor.device for cursor in moved} == set(alice.devices)


def test_the_log_has_the_device_and_a_description(alice, set_, store):
    set_({"k": "v"}, notes={"k": "Acme: alerts on"})
    line = StoreUpdate.objects.get()
    assert line.device == alice.device
    assert line.note == "Acme: alerts on"


def test_an_account_without_sync_writes_nothing(bob):
    assert store_set(bob.account.pk, "any", {"k": "v"}, device=bob.device) == []
    assert store_delete(bob.account.pk, "any", ["k"], device=bob.device) == []
    assert OutboxMessage.objects.count() == 0


def test_without_its_key_a_store_takes_no_write(set_, store):
    forget(Holder.WALLET, [store.topic])
    with pytest.raises(services.StoreKeyMissing):
        set_({"k": "v"})
    assert StoreUpdate.objects.count() == 0
