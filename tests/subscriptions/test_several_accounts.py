"""A user with two accounts: each has its own store and subscriptions, both share an inbox."""

from __future__ import annotations

import pytest

from subscriptions import services
from subscriptions.models import NotifyMessageRecord, Subscription
from syncstore.models import Store
from syncstore.services import enable_sync
from tests.people import ALICE_SECOND, Person, link
from tests.subscriptions.conftest import subscribed
from tests.subscriptions.world import deliver
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE


@pytest.fixture
def second(alice) -> Person:
    """Alice's second account, added on her first device."""
    account = link(ALICE_SECOND, alice.device)
    return Person(alice.user, account, alice.devices, ALICE_SECOND)


def test_both_subscribe_to_one_dapp_and_read_one_inbox(alice, second, dapp):
    for person in (alice, second):
        subscribed(person, dapp)
        deliver(dapp.notification(person.account, title=person.account.short))
    mine = NotifyMessageRecord.objects.filter(
        subscription__account__user=alice.user
    ).order_by("pk")
    assert [record.title for record in mine] == [
        alice.account.short,
        second.account.short,
    ]
    assert services.mark_read(mine, alice.devices[1]) == 2


def test_each_account_has_a_store_of_its_own(alice, second, dapp):
    for person in (alice, second):
        enable_sync(person.account, person.sync_signature, alice.device)
    assert Store.objects.values("topic").distinct().count() == 4
    row = subscribed(second, dapp)
    entries = {
        store.account: store.entries.count()
        for store in Store.objects.filter(name=NOTIFY_SUBSCRIPTION_STORE)
    }
    assert entries == {alice.account: 0, second.account: 1}
    assert row.account == second.account


def test_a_device_without_its_own_key_signs_with_the_accounts_newest(
    alice, second, dapp
):
    """The second account was added on one device; the other may use it, too."""
    attempt = services.subscribe(second.account, dapp.url, device=alice.devices[1])
    services.resolve_due()
    deliver(dapp.answer())
    attempt.refresh_from_db()
    assert attempt.subscription == Subscription.objects.get()
