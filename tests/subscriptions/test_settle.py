"""W1 receives the answer: steps 14 to 18, and 19 and 20 on the account's other devices."""

from __future__ import annotations

import dataclasses
import json

import pytest

from accounts.models import AuditEntry
from common import clock
from keychain.services import Holder, forget, key_pairs, sym_keys
from messaging.models import InboxMessage, TopicSubscription
from runlog import services as runlog
from runlog.models import StepRecord
from subscriptions.models import SubscribeAttempt, Subscription
from syncstore.models import DeviceCursor, Store, StoreEntry, StoreUpdate
from tests.subscriptions.conftest import requested, subscribed
from tests.subscriptions.world import deliver, send_as_peer, sent
from walletconnect.crypto.envelope import open_envelope
from walletconnect.crypto.keys import KeyPair
from walletconnect.crypto.signing import IdentityKey
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.did import did_key
from walletconnect.notify.claims import SubscriptionResponseAuth
from walletconnect.notify.values import NotifySubscription
from walletconnect.relay.rpc import parse
from walletconnect.sync.derivation import NOTIFY_SUBSCRIPTION_STORE

State = SubscribeAttempt.State


def test_the_subscription_mirrors_the_request(alice, dapp):
    attempt = requested(alice, dapp, types={"news"})
    deliver(dapp.answer())
    attempt.refresh_from_db()
    row = attempt.subscription
    assert attempt.state == State.SETTLED
    assert row.topic == dapp.key_of(alice.account).topic
    assert row.account == alice.account
    assert [name for name, each in row.scope.items() if each["enabled"]] == ["news"]
    assert row.metadata["url"] == row.dapp_url == dapp.url
    assert row.relay_protocol == "irn"
    assert row.dapp_authentication_did == dapp.key.did
    assert abs(row.expiry - clock.now_s() - 2592000) < 60
    assert (row.added_by, row.device) == ("subscribe", alice.device)


def test_key_p_is_kept_and_s_and_y_are_forgotten(alice, dapp):
    attempt = requested(alice, dapp)
    deliver(dapp.answer())
    topic = dapp.key_of(alice.account).topic
    assert sym_keys(Holder.WALLET, [topic]) == {topic: dapp.key_of(alice.account)}
    assert not sym_keys(Holder.WALLET, [attempt.response_topic])
    assert not key_pairs(Holder.WALLET, [attempt.topic_of_key_pair_y])


def test_the_notify_topic_is_wanted_and_the_response_topic_unwanted(alice, dapp):
    attempt = requested(alice, dapp)
    deliver(dapp.answer())
    states = dict(TopicSubscription.objects.values_list("topic", "state"))
    assert states == {
        attempt.response_topic: "unwanted",
        dapp.key_of(alice.account).topic: "wanted",
    }


def test_an_answer_delivered_twice_settles_once(alice, dapp):
    attempt = requested(alice, dapp)
    answer = dapp.answer()
    deliver(answer, answer)
    before = Subscription.objects.get()
    InboxMessage.objects.update(state="due", message=answer[1])
    deliver()
    assert Subscription.objects.get() == before
    assert AuditEntry.objects.filter(action="subscription.added").count() == 1
    attempt.refresh_from_db()
    assert attempt.state == State.SETTLED


def test_a_second_different_answer_is_ignored(alice, dapp):
    requested(alice, dapp)
    first, second = dapp.answer(), dapp.answer()
    _, late = deliver(first, second)
    assert late.state == "refused"
    assert Subscription.objects.count() == 1


def test_the_settled_run_has_all_steps_of_w1(alice, dapp):
    attempt = requested(alice, dapp)
    deliver(dapp.answer())
    found = [record.step for record in runlog.of_run(attempt.response_topic)]
    assert found == [1, 2, 3, 4, 5, 6, 14, 15, 16]
    wanted = TopicSubscription.objects.get(topic=dapp.key_of(alice.account).topic)
    assert [each["context"]["step"] for each in wanted.callbacks] == [17]


# --- refusals -------------------------------------------------------------------------


def test_the_dapps_refusal_ends_the_attempt_with_its_message(alice, dapp):
    attempt = requested(alice, dapp)
    error = RemoteProtocolError(ErrorCode.UNAUTHORIZED, "not on the guest list")
    (row,) = deliver(dapp.refusal(error))
    attempt.refresh_from_db()
    assert attempt.state == State.REJECTED
    assert "not on the guest list" in attempt.reason
    assert row.state == "handled"
    assert not Subscription.objects.exists()


def forged(attempt, dapp, key=None, **changes) -> dict:
    """A dapp's answer, with the given members changed."""
    key = key or dapp.key
    claims = SubscriptionResponseAuth(
        iat=clock.now_s(),
        exp=clock.now_s() + 300,
        iss=key.did,
        aud=attempt.identity_did,
        sub=did_key(KeyPair.from_private(b"z" * 32).public_key),
        app=dapp.url,
    )
    token = dataclasses.replace(claims, **changes).sign(key)
    return {"id": attempt.rpc_id, "jsonrpc": "2.0", "result": {"responseAuth": token}}


def key_s(attempt):
    return sym_keys(Holder.WALLET, [attempt.response_topic])[attempt.response_topic]


def test_the_forged_answer_without_a_fault_settles(alice, dapp):
    attempt = requested(alice, dapp)
    send_as_peer(key_s(attempt), forged(attempt, dapp), 4001)
    attempt.refresh_from_db()
    assert attempt.state == State.SETTLED


STRANGER = IdentityKey.from_seed(b"s" * 32)


@pytest.mark.parametrize(
    "fault",
    [
        {"aud": STRANGER.did},
        {"app": "https://other.example"},
        {"exp": 1, "iat": 1},
        {"iat": 2**40, "exp": 2**40 + 1},
        {"sub": "did:key:z6Mk"},
        {"sub": did_key(bytes(32))},
    ],
    ids=["aud", "app", "expired", "future", "no key Z", "Z of low order"],
)
def test_an_answer_with_one_fault_makes_no_subscription(fault, alice, dapp):
    attempt = requested(alice, dapp)
    (row,) = send_as_peer(key_s(attempt), forged(attempt, dapp, **fault), 4001)
    attempt.refresh_from_db()
    assert attempt.state in {State.REJECTED, State.EXPIRED}
    assert attempt.reason
    assert row.state == "refused"
    assert not Subscription.objects.exists()


def test_an_answer_signed_by_a_stranger_makes_no_subscription(alice, dapp):
    attempt = requested(alice, dapp)
    send_as_peer(key_s(attempt), forged(attempt, dapp, key=STRANGER), 4001)
    attempt.refresh_from_db()
    assert attempt.state == State.REJECTED
    assert not Subscription.objects.exists()


@pytest.mark.parametrize(
    "payload",
    [
        {"id": 1, "jsonrpc": "2.0", "result": {"responseAuth": "a.b.c"}},
        {"id": 1, "jsonrpc": "2.0", "method": "wc_notifySubscribe", "params": {}},
        "not json",
        "{}",
    ],
)
def test_an_unrelated_answer_leaves_the_attempt_waiting(payload, alice, dapp):
    attempt = requested(alice, dapp)
    (row,) = send_as_peer(key_s(attempt), payload, 4001)
    attempt.refresh_from_db()
    assert (attempt.state, row.state) == (State.REQUESTED, "refused")
    deliver(dapp.answer())
    attempt.refresh_from_db()
    assert attempt.state == State.SETTLED


def test_a_lost_key_ends_the_attempt(alice, dapp):
    attempt = requested(alice, dapp)
    answer = dapp.answer()
    forget(Holder.WALLET, [attempt.topic_of_key_pair_y])
    deliver(answer)
    attempt.refresh_from_db()
    assert attempt.state == State.REJECTED
    assert "keychain" in attempt.reason


def test_answers_of_many_accounts_in_one_batch_all_settle(alice, bob, charlie, dapp):
    answers = []
    for person in (alice, bob, charlie):
        requested(person, dapp)
        answers.append(dapp.answer())
    deliver(*answers)
    assert Subscription.objects.count() == 3
    assert {row.account.user for row in Subscription.objects.all()} == {
        alice.user,
        bob.user,
        charlie.user,
    }


# --- with sync ------------------------------------------------------------------------


def test_the_subscription_goes_into_the_shared_store(synced_alice, dapp):
    row = subscribed(synced_alice, dapp)
    attempt = row.attempts.get()
    assert attempt.state == State.SYNCED
    store = Store.objects.get(name=NOTIFY_SUBSCRIPTION_STORE)
    key = sym_keys(Holder.WALLET, [store.topic])[store.topic]
    (published,) = sent(5000)
    request = parse(open_envelope(published.message, key))
    assert request.params["key"] == row.topic
    value = json.loads(request.params["value"])
    assert sorted(value) == [
        "account",
        "expiry",
        "metadata",
        "relay",
        "scope",
        "symKey",
        "topic",
    ]
    announced = NotifySubscription.from_value(value)
    assert announced.sym_key == dapp.key_of(synced_alice.account)
    assert announced.expiry == row.expiry
    note = StoreUpdate.objects.get()
    assert (note.device, note.source) == (synced_alice.device, "device")
    assert note.note.startswith(row.metadata["name"])
    assert "gm_hourly" in note.note


def test_every_other_device_of_the_account_has_it_in_the_same_transaction(
    synced_alice, bob, dapp
):
    row = subscribed(synced_alice, dapp)
    run = row.attempts.get().response_topic
    other = synced_alice.devices[1]
    cursor = DeviceCursor.objects.get(
        device=other, store__name=NOTIFY_SUBSCRIPTION_STORE
    )
    assert cursor.update_pk == StoreUpdate.objects.latest("pk").pk
    stored = StepRecord.objects.get(run=run, step=19)
    assert (stored.actor, stored.actor_key) == ("Wx", str(other.pk))
    wanted = TopicSubscription.objects.get(topic=row.topic)
    assert [
        (each["context"]["step"], each["context"]["actorKey"])
        for each in wanted.callbacks
    ] == [
        (17, ""),
        (20, str(other.pk)),
    ]
    assert not DeviceCursor.objects.filter(device=bob.device).exists()


def test_a_signed_out_device_gets_no_steps_as_wx(synced_alice, dapp):
    synced_alice.devices[1].revoked_at = clock.now()
    synced_alice.devices[1].save()
    subscribed(synced_alice, dapp)
    assert not StepRecord.objects.filter(step=19).exists()


def test_a_failure_while_settling_rolls_everything_back(
    synced_alice, dapp, monkeypatch
):
    from subscriptions.services.subscribe import settle

    attempt = requested(synced_alice, dapp)

    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(settle, "store_set", fail)
    deliver(dapp.answer())
    attempt.refresh_from_db()
    assert attempt.state == State.REQUESTED
    assert not Subscription.objects.exists()
    assert not StoreEntry.objects.exists()
    assert key_pairs(Holder.WALLET, [attempt.topic_of_key_pair_y])
