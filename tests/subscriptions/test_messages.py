"""Notifications: verified, stored once, answered with a receipt."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from accounts.models import AccountEvent
from common import clock
from keychain.services import Holder, put_sym_keys
from messaging.models import InboxMessage, OutboxMessage
from subscriptions import services
from subscriptions.models import DappDocument, NotifyMessageRecord, Subscription
from tests.people import sign_in_person
from tests.subscriptions.conftest import subscribed
from tests.subscriptions.world import deliver, send_as_peer, sent
from walletconnect.crypto.keys import SymKey, hash_text
from walletconnect.crypto.signing import IdentityKey
from walletconnect.identity.did import AccountId
from walletconnect.identity.jwt import DidJwt, sign_did_jwt
from walletconnect.json_values import dump_json
from walletconnect.notify.claims import ReceiptAuth
from walletconnect.notify.message import read_receipt
from walletconnect.relay.rpc import JsonRpcError

STRANGER = IdentityKey.from_seed(b"s" * 32)


def test_a_notification_is_stored_field_by_field(alice, dapp, subscription):
    deliver(
        dapp.notification(
            alice.account,
            request_id=1675012319603550,
            title="Vote",
            body="Ends today 😀",
            icon="https://dapp.example/i.png",
            url="https://dapp.example/vote",
            type="news",
        )
    )
    record = NotifyMessageRecord.objects.get()
    assert record.subscription == subscription
    assert (record.title, record.body, record.type) == ("Vote", "Ends today 😀", "news")
    assert record.icon == "https://dapp.example/i.png"
    assert record.url == "https://dapp.example/vote"
    assert record.rpc_id == 1675012319603550
    assert record.read_at is None
    assert DidJwt.parse(record.message_auth).iss == dapp.key.did


def test_it_is_answered_with_a_receipt_that_the_dapp_accepts(alice, dapp, subscription):
    from identity.services import known_identity

    deliver(dapp.notification(alice.account))
    sym_key = dapp.key_of(alice.account)
    answer = dapp.last_on(sym_key, 4003)
    iss = DidJwt.parse(answer.result["receiptAuth"]).iss
    receipt = read_receipt(
        answer,
        dapp.identity,
        account=AccountId.parse(alice.account.address),
        identity=known_identity(iss),
        now=clock.now_s(),
    )
    record = NotifyMessageRecord.objects.get()
    assert receipt.request_id == record.rpc_id
    msg = DidJwt.parse(record.message_auth).claims["msg"]
    assert receipt.message_hash == hash_text(dump_json(msg))
    assert ReceiptAuth.act == "notify_receipt"


def test_a_message_that_comes_again_is_kept_once(alice, dapp, subscription):
    first = dapp.notification(alice.account, request_id=77)
    same_id = dapp.notification(alice.account, request_id=77, title="Again")
    deliver(first, first, same_id)
    deliver(same_id)
    assert [record.title for record in NotifyMessageRecord.objects.all()] == ["Hello"]
    assert len(sent(4003)) == 1


def test_browsers_receive_one_event_per_message(alice, bob, dapp, subscription):
    AccountEvent.objects.all().delete()
    message = dapp.notification(alice.account)
    deliver(message)
    deliver(message)
    events = AccountEvent.objects.all()
    record = NotifyMessageRecord.objects.get()
    assert [(each.user, each.kind, each.subject) for each in events] == [
        (
            alice.user,
            "notify.message",
            f"subscriptions.notifymessagerecord:{record.pk}",
        )
    ]


def test_a_batch_of_many_accounts_and_messages_costs_few_statements(
    alice, bob, dapp, django_assert_max_num_queries
):
    messages = []
    for person in (alice, bob):
        subscribed(person, dapp)
        messages += [dapp.notification(person.account) for _ in range(50)]
    random.Random(7).shuffle(messages)  # noqa: S311
    with django_assert_max_num_queries(60):
        deliver(*messages)
    assert NotifyMessageRecord.objects.count() == 100
    assert OutboxMessage.objects.filter(tag=4003).count() == 100


@pytest.mark.parametrize(
    "fault",
    [
        {"key": STRANGER},
        {"now": 1_000_000_000},
        {"now": 2**40},
    ],
    ids=["signed by a stranger", "expired", "from the future"],
)
def test_a_message_with_one_fault_is_not_kept(fault, alice, dapp, subscription):
    (row,) = deliver(dapp.notification(alice.account, **fault))
    assert not NotifyMessageRecord.objects.exists()
    assert not sent(4003)
    assert row.state in {"refused", "due"}
    assert row.reason


def test_a_message_for_another_account_is_not_kept(alice, bob, dapp, subscription):
    message = dapp.notification(bob.account, sym_key=dapp.key_of(alice.account))
    (row,) = deliver(message)
    assert row.state == "refused"
    assert not NotifyMessageRecord.objects.exists()


def test_a_message_of_another_dapp_is_not_kept(alice, dapp, subscription):
    dapp.url = "https://other.example"
    (row,) = deliver(dapp.notification(alice.account))
    assert row.state == "refused"


def test_a_message_on_a_topic_without_subscription_is_not_kept(
    alice, dapp, subscription
):
    stray = SymKey(b"p" * 32)
    put_sym_keys(Holder.WALLET, [stray])
    (row,) = deliver(dapp.notification(alice.account, sym_key=stray))
    assert (row.state, row.reason) == ("refused", "no subscription has this topic")


def test_after_leaving_nothing_is_kept(alice, dapp, subscription):
    services.delete_subscription(subscription, alice.device)
    (row,) = deliver(dapp.notification(alice.account))
    assert row.state == "refused"
    assert not NotifyMessageRecord.objects.exists()


def test_a_malformed_notification_is_answered_with_an_error(alice, dapp, subscription):
    now = clock.now_s()
    claims = {
        "act": "notify_message",
        "iat": now,
        "exp": now + 60,
        "iss": dapp.key.did,
        "app": dapp.url,
        "aud": f"did:pkh:{alice.account.address}",
        "sub": "0" * 64,
        "msg": {"body": "no title"},
    }
    token = sign_did_jwt(claims, dapp.key)
    sym_key = dapp.key_of(alice.account)
    send_as_peer(
        sym_key,
        {
            "id": 5,
            "jsonrpc": "2.0",
            "method": "wc_notifyMessage",
            "params": {"messageAuth": token},
        },
        4002,
    )
    answer = dapp.last_on(sym_key, 4003)
    assert isinstance(answer, JsonRpcError)
    assert answer.id == 5


@pytest.mark.parametrize("text", ["zero \x00 character", "\ud7ff\ufffe", "a" * 255])
def test_odd_texts_are_kept(text, alice, dapp, subscription):
    deliver(dapp.notification(alice.account, body=text))
    kept = NotifyMessageRecord.objects.get().body
    # PostgreSQL has no zero character in texts; the core drops it.
    assert kept == text.replace("\x00", "")


def test_an_unknown_dapp_key_is_learnt_and_messages_wait_for_it(
    alice, dapp, subscription
):
    Subscription.objects.update(dapp_authentication_did="")
    (row,) = deliver(dapp.notification(alice.account))
    assert row.state == "due"
    assert "not known yet" in row.reason
    DappDocument.objects.all().delete()
    assert services.learn_dapps() == 1
    InboxMessage.objects.update(next_attempt_at=clock.now())
    deliver()
    assert NotifyMessageRecord.objects.count() == 1


def test_a_new_key_of_the_dapp_is_used_once_a_person_accepts_it(
    alice, dapp, subscription
):
    dapp.key = IdentityKey.from_seed(b"n" * 32)
    DappDocument.objects.update(checked_at=clock.now() - timedelta(hours=1))
    (row,) = deliver(dapp.notification(alice.account))
    assert row.state == "due"
    assert services.recheck_documents() == 1, "the message made it due"
    document = DappDocument.objects.get(url=dapp.url)
    assert document.changed_keys["authenticationKey"] == dapp.key.did
    services.accept_changed_keys(document, alice.device)
    InboxMessage.objects.update(next_attempt_at=clock.now())
    deliver()
    assert NotifyMessageRecord.objects.count() == 1


def test_without_an_identity_key_it_is_kept_but_not_answered(alice, dapp, subscription):
    from accounts.services import revoke_devices

    revoke_devices([device.pk for device in alice.devices], by=None)
    deliver(dapp.notification(alice.account))
    assert NotifyMessageRecord.objects.count() == 1
    assert not sent(4003)


def test_peer_traffic_on_the_shared_topic_is_ignored(alice, dapp, subscription):
    sym_key = dapp.key_of(alice.account)
    answer = {"id": 3, "jsonrpc": "2.0", "result": {"responseAuth": ""}}
    request = {
        "id": 3,
        "jsonrpc": "2.0",
        "method": "wc_notifyUpdate",
        "params": {"updateAuth": "x"},
    }
    before = Subscription.objects.values().get()
    for payload, tag in ((answer, 4005), (answer, 4003), (request, 4008)):
        (row,) = send_as_peer(sym_key, payload, tag)
        assert row.state == "refused"
    assert Subscription.objects.values().get() == before
    assert not sent(4005)


def test_many_users_each_see_their_own_messages(alice, dapp):
    people = [alice, sign_in_person("bob"), sign_in_person("charlie")]
    for person in people:
        subscribed(person, dapp)
        deliver(dapp.notification(person.account, title=person.account.address[-8:]))
    for person in people:
        mine = NotifyMessageRecord.objects.filter(
            subscription__account__user=person.user
        )
        assert [record.title for record in mine] == [person.account.address[-8:]]


# --- types that the documents lack ----------------------------------------------------


def test_a_message_of_an_unknown_type_has_the_documents_read_again(
    alice, dapp, subscription
):
    kept_until = clock.now() + timedelta(hours=5)
    DappDocument.objects.update(
        checked_at=clock.now() - timedelta(minutes=3), expires_at=kept_until
    )
    deliver(dapp.notification(alice.account, type="alerts"))
    assert services.recheck_documents() == 0
    dapp.config["types"] = [*dapp.config["types"], {"name": "votes"}]
    before = AccountEvent.objects.filter(kind="notify.subscription").count()
    deliver(dapp.notification(alice.account, type="votes"))
    assert services.recheck_documents() == 1
    assert "votes" in {each["name"] for each in DappDocument.objects.get().types}
    events = AccountEvent.objects.filter(kind="notify.subscription").count()
    assert events == before + 1, "open pages offer it"


def test_unknown_types_have_documents_read_no_more_often_than_bad_ones(
    alice, dapp, subscription
):
    DappDocument.objects.update(
        checked_at=clock.now(), expires_at=clock.now() + timedelta(hours=5)
    )
    for number in range(5):
        deliver(dapp.notification(alice.account, type=f"junk{number}"))
    assert services.recheck_documents() == 0
