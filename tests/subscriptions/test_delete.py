"""Unsubscribing: by a person here, by another wallet of the account, by the dapp."""

from __future__ import annotations

import pytest
from django.conf import settings

from accounts.services import remove_account
from common import clock, entropy
from identity import services as identity
from keychain.services import Holder, sym_keys
from messaging.models import OutboxMessage, TopicSubscription
from subscriptions import services
from subscriptions.models import NotifyMessageRecord, SubscribeAttempt, Subscription
from syncstore.models import Store, StoreEntry
from tests.subscriptions.conftest import requested, subscribed
from tests.subscriptions.world import deliver, send_as_peer, sent
from walletconnect.crypto.signing import IdentityKey
from walletconnect.identity.did import AccountId
from walletconnect.identity.jwt import DidJwt
from walletconnect.notify.claims import DeleteAuth
from walletconnect.notify.delete import answer_delete


def test_the_dapp_accepts_the_delete_request(alice, dapp, subscription):
    assert services.delete_subscription(subscription, alice.device) is True
    sym_key = dapp.key_of(alice.account)
    request = dapp.last_on(sym_key, 4004)
    did = DidJwt.parse(request.params["deleteAuth"]).iss
    answer = answer_delete(
        request,
        dapp.identity,
        sym_key_p=sym_key,
        account=AccountId.parse(alice.account.address),
        identity=identity.known_identity(did),
        subscription_hash=dapp.subscription_hash,
        iv=entropy.iv(),
        now=clock.now_s(),
    )
    assert answer.publish.tag == 4005


def test_the_row_stays_with_its_messages_and_the_key_goes(alice, dapp, subscription):
    deliver(dapp.notification(alice.account))
    services.delete_subscription(subscription, alice.device)
    subscription.refresh_from_db()
    assert subscription.deleted_at is not None
    assert subscription.delete_reason == "unsubscribed here"
    assert NotifyMessageRecord.objects.count() == 1
    assert not sym_keys(Holder.WALLET, [subscription.topic])
    topic = TopicSubscription.objects.get(topic=subscription.topic)
    assert topic.state == "unwanted"


def test_a_second_unsubscribe_changes_nothing(alice, dapp, subscription):
    services.delete_subscription(subscription, alice.device)
    assert services.delete_subscription(subscription, alice.devices[1]) is False
    assert len(sent(4004)) == 1


def test_charlie_cannot_unsubscribe_alice(alice, charlie, dapp, subscription):
    with pytest.raises(services.NotYours):
        services.delete_subscription(subscription, charlie.device)
    subscription.refresh_from_db()
    assert subscription.deleted_at is None
    assert not sent(4004)


def test_the_entry_is_deleted_from_the_shared_store(synced_alice, dapp):
    row = subscribed(synced_alice, dapp)
    services.delete_subscription(row, synced_alice.device)
    assert len(sent(5002)) == 1
    entry = StoreEntry.objects.get(key=row.topic)
    assert entry.is_deleted


def test_resubscribing_after_an_unsubscribe_works(alice, dapp, subscription):
    services.delete_subscription(subscription, alice.device)
    again = subscribed(alice, dapp)
    assert again.topic != subscription.topic


# --- wc_notifyDelete from the topic -------------------------------------------------------


def delete_auth(dapp, key, **changes):
    now = clock.now_s()
    claims = {
        "iat": now,
        "exp": now + 300,
        "iss": key.did,
        "aud": dapp.key.did,
        "sub": "User unsubscribed.",
        "ksu": settings.KEYS_SERVER_URL,
        "app": dapp.url,
    }
    return DeleteAuth(**(claims | changes)).sign(key)


def send_delete(sym_key, token):
    (row,) = send_as_peer(
        sym_key,
        {
            "id": clock.payload_id(),
            "jsonrpc": "2.0",
            "method": "wc_notifyDelete",
            "params": {"deleteAuth": token},
        },
        4004,
    )
    return row


def key_of_device(person, number):
    from identity.models import IdentityKey as Row
    from keychain.services import signing_key

    did = Row.objects.get(device=person.devices[number]).did
    return signing_key(Holder.IDENTITY, did)


def test_another_wallets_delete_ends_it_here_too(synced_alice, dapp):
    row = subscribed(synced_alice, dapp)
    other_wallet = key_of_device(synced_alice, 1)
    message = send_delete(
        dapp.key_of(synced_alice.account), delete_auth(dapp, other_wallet)
    )
    row.refresh_from_db()
    assert message.state == "handled"
    assert row.delete_reason == "unsubscribed by another wallet"
    assert len(sent(5002)) == 1, "in case the other wallet's store message was lost"
    assert not sent(4005), "the dapp answers it"


def test_the_dapps_delete_ends_it_and_is_answered(alice, dapp, subscription):
    send_delete(dapp.key_of(alice.account), delete_auth(dapp, dapp.key))
    subscription.refresh_from_db()
    assert subscription.delete_reason == "ended by the dapp"
    assert dapp.last_on(dapp.key_of(alice.account), 4005).result == {"responseAuth": ""}


def test_a_delete_by_another_account_changes_nothing(alice, bob, dapp, subscription):
    token = delete_auth(dapp, key_of_device(bob, 0))
    row = send_delete(dapp.key_of(alice.account), token)
    assert row.state == "refused"
    subscription.refresh_from_db()
    assert subscription.deleted_at is None


STRANGER = IdentityKey.from_seed(b"s" * 32)


@pytest.mark.parametrize(
    ("signer", "changes"),
    [
        (STRANGER, {}),
        (None, {"ksu": "https://evil.example"}),
        (None, {"app": "https://other.example"}),
        (None, {"iat": 1, "exp": 2}),
    ],
    ids=["unknown key", "foreign key server", "other dapp", "expired"],
)
def test_a_delete_with_one_fault_changes_nothing(
    signer, changes, alice, dapp, subscription
):
    token = delete_auth(dapp, signer or key_of_device(alice, 1), **changes)
    row = send_delete(dapp.key_of(alice.account), token)
    assert row.state == "refused"
    subscription.refresh_from_db()
    assert subscription.deleted_at is None


@pytest.mark.parametrize("token", ["", "a.b.c", None, 7])
def test_a_malformed_delete_changes_nothing(token, alice, dapp, subscription):
    row = send_delete(dapp.key_of(alice.account), token)
    assert row.state == "refused"
    subscription.refresh_from_db()
    assert subscription.deleted_at is None


# --- removal of the account -----------------------------------------------------------


def test_removing_an_account_notifies_its_dapps(synced_alice, bob, dapp):
    subscribed(synced_alice, dapp)
    subscribed(bob, dapp)
    sym_key = dapp.key_of(synced_alice.account)
    remove_account(synced_alice.account, by=synced_alice.device)
    request = dapp.last_on(sym_key, 4004)
    did = DidJwt.parse(request.params["deleteAuth"]).iss
    assert did.startswith("did:key:")
    assert not sent(5002), "other wallets keep what they have"
    assert Subscription.objects.count() == 1
    assert not Store.objects.exists()
    wanted = TopicSubscription.objects.filter(state="wanted")
    assert [each.topic for each in wanted] == [dapp.key_of(bob.account).topic]


def test_an_open_attempt_of_a_removed_account_leaves_nothing(alice, bob, dapp):
    requested(alice, dapp)
    answer = dapp.answer()
    remove_account(alice.account, by=alice.device)
    (row,) = deliver(answer)
    assert row.state == "refused"
    assert not SubscribeAttempt.objects.exists()
    assert not Subscription.objects.exists()
    assert not TopicSubscription.objects.filter(state="wanted").exists()
    texts = " ".join(OutboxMessage.objects.values_list("message", flat=True))
    assert alice.account.address not in texts
