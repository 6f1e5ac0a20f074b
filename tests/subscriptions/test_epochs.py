"""A new epoch: other store keys, other subscription keys, the same dapps and types."""

from __future__ import annotations

import pytest

from keychain.services import Holder, sym_keys
from messaging.models import OutboxMessage
from subscriptions import services
from subscriptions.models import Subscription
from syncstore import services as syncstore
from syncstore.models import Store
from tests.subscriptions.conftest import subscribed
from tests.subscriptions.world import deliver, sent
from walletconnect.errors import RemoteProtocolError
from walletconnect.relay.methods import Tag
from walletconnect.sync.derivation import derive_store_keys


def topics() -> dict[str, str]:
    return dict(Store.objects.values_list("name", "topic"))


def start(person):
    return services.start_new_epoch(
        person.account, person.sync_signature, person.device
    )


def test_stores_and_subscriptions_get_other_keys(synced_alice, dapp):
    row = subscribed(synced_alice, dapp, types={"news"})
    before = topics()
    old_key = dapp.key_of(synced_alice.account)
    done = start(synced_alice)
    assert [store.epoch for store in done.stores] == [2, 2]
    after = topics()
    assert set(after) == set(before)
    assert not set(after.values()) & set(before.values())
    # The keys of before are gone here, those of now were never derivable from them.
    assert not sym_keys(Holder.WALLET, [*before.values(), row.topic])
    assert done.resubscribed == [str(row)]
    assert len(sent(Tag.NOTIFY_DELETE)) == 1
    services.resolve_due()
    deliver(dapp.answer())
    new = Subscription.objects.active().get()
    assert new.topic != row.topic
    assert new.effective_types == {"news"}
    assert dapp.key_of(synced_alice.account) != old_key


def test_the_former_store_receives_the_deletions(synced_alice, dapp):
    subscribed(synced_alice, dapp)
    (former,) = Store.objects.filter(name__endswith="notifySubscription")
    start(synced_alice)
    tags = OutboxMessage.objects.filter(topic=former.topic).order_by("pk")
    assert list(tags.values_list("tag", flat=True)) == [Tag.SYNC_SET, Tag.SYNC_DELETE]


def test_another_server_with_the_same_wallet_gets_to_the_same_stores(
    synced_alice, dapp
):
    start(synced_alice)
    second = topics()
    Store.objects.all().delete()
    account, device = synced_alice.account, synced_alice.device
    syncstore.enable_sync(account, synced_alice.sync_signature, device)
    syncstore.start_epoch(account, synced_alice.sync_signature, device)
    assert topics() == second


def test_devices_join_the_present_epoch(synced_alice):
    start(synced_alice)
    present = topics()
    syncstore.enable_sync(
        synced_alice.account, synced_alice.sync_signature, synced_alice.devices[1]
    )
    syncstore.start_new_group(
        synced_alice.account, synced_alice.sync_signature, synced_alice.device
    )
    assert topics() == present
    start(synced_alice)
    assert set(Store.objects.values_list("epoch", flat=True)) == {3}


def test_keys_of_an_epoch_are_exported_and_joined_as_such(synced_alice):
    done = start(synced_alice)
    names = {store.derivation_name: store for store in done.stores}
    keys = derive_store_keys(synced_alice.sync_signature, list(names))
    assert {name: key.topic for name, key in keys.items()} == {
        name: store.topic for name, store in names.items()
    }
    present = topics()
    Store.objects.all().delete()
    assert syncstore.restore_stores(synced_alice.account, keys, device=None)
    assert topics() == present
    assert set(Store.objects.values_list("epoch", flat=True)) == {2}
    syncstore.enable_sync(
        synced_alice.account, synced_alice.sync_signature, synced_alice.device
    )
    assert topics() == present


def test_a_wrong_signature_changes_nothing(synced_alice, bob, dapp):
    row = subscribed(synced_alice, dapp)
    before = topics()
    with pytest.raises(RemoteProtocolError):
        services.start_new_epoch(
            synced_alice.account, bob.sync_signature, synced_alice.device
        )
    with pytest.raises((syncstore.SyncRefused, services.NotYours)):
        services.start_new_epoch(
            synced_alice.account, synced_alice.sync_signature, bob.device
        )
    row.refresh_from_db()
    assert row.deleted_at is None
    assert topics() == before
    assert not sent(Tag.NOTIFY_DELETE)


def test_a_blocked_dapp_is_not_subscribed_to_again(synced_alice, dapp):
    row = subscribed(synced_alice, dapp)
    services.block(row, synced_alice.device)
    done = start(synced_alice)
    assert done.left == {str(row): "blocked"}
    assert done.resubscribed == []
