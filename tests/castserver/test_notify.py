"""A dapp sends: who gets it, in which bytes, how often, and what comes back."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from castserver.models import Delivery, Notification, Subscriber, Undelivered
from castserver.services.errors import Invalid
from castserver.services.notifications.broadcast import notify_everyone
from castserver.services.notifications.delivery import (
    CHUNK,
    send_deliveries,
    send_due_chunk,
)
from castserver.services.notifications.ids import rpc_ids, time_ordered_ids
from castserver.services.notifications.notify import audience, notify
from common import clock, entropy
from common.limits import Bucket
from keychain import services as keychain
from messaging.models import OutboxMessage
from tests.castserver.world import (
    Wallet,
    claims_of,
    counts,
    deliver,
    open_all,
    open_last,
    sent,
)
from walletconnect.crypto.keys import SymKey
from walletconnect.notify.message import make_receipt, receive_message
from walletconnect.notify.values import NotifyMessage
from walletconnect.relay.rpc import JsonRpcError, parse

DRAFT = NotifyMessage(
    type="alerts",
    title="Hello",
    body="World é 😀",
    url="https://dapp.example.org",
)


def received(project, wallet, subscription):
    request = parse(open_last(subscription.sym_key, 4002))
    return receive_message(
        request,
        wallet.account,
        app=project.url,
        dapp_did=project.authentication_did,
        now=clock.now_s(),
    )


def test_a_subscriber_gets_it(project, alice):
    subscription = alice.subscribe(project)
    outcome = notify(project, DRAFT, [str(alice.account)])
    assert outcome.sent == (str(alice.account),)
    assert outcome.failed == outcome.not_found == ()
    found = received(project, alice, subscription)
    assert (found.message.title, found.message.body) == ("Hello", "World é 😀")
    assert found.subscription_hash == Subscriber.objects.get().subscription_hash
    [row] = sent(subscription.topic, 4002)
    assert (row.ttl, row.prompt) == (2592000, True)
    [delivery] = Delivery.objects.all()
    assert delivery.rpc_id == found.request_id
    assert delivery.sent_at is not None


def test_the_message_has_the_form_of_the_v0_servers(project, alice):
    subscription = alice.subscribe(project)
    notify(project, DRAFT, [str(alice.account)])
    request = parse(open_last(subscription.sym_key, 4002))
    assert request.method == "wc_notifyMessage"
    claims = claims_of(request.params["messageAuth"])
    assert claims["act"] == "notify_message"
    assert claims["aud"] == f"did:pkh:{alice.account}"
    assert claims["app"] == project.url
    assert {"title", "body", "icon", "url", "type"} <= set(claims["msg"])


def test_every_message_has_an_id_because_later_clients_may_share_the_topic(
    project, alice
):
    # Of messages without an id they keep the first of a topic and drop the rest.
    subscription = alice.subscribe(project)
    for _ in range(3):
        notify(project, DRAFT, [str(alice.account)])
    messages = [
        claims_of(request.params["messageAuth"])["msg"]
        for request in open_all(subscription.sym_key, 4002)
    ]
    sent_to = Delivery.objects.order_by("pk")
    assert [each["id"] for each in messages] == [str(each.pk) for each in sent_to]
    assert all(each["is_read"] is False for each in messages)
    assert all(isinstance(each["sent_at"], int) for each in messages)


def test_every_account_ends_in_one_list(project, alice, bob, charlie):
    alice.subscribe(project)
    subscription = bob.subscribe(project)
    bob.update(project, subscription, {"news"})
    accounts = [str(each.account) for each in (alice, bob, charlie)]
    outcome = notify(project, DRAFT, [*accounts, "rubbish"])
    assert outcome.sent == (accounts[0],)
    assert [each.account for each in outcome.failed] == [accounts[1], "rubbish"]
    assert outcome.not_found == (accounts[2],)
    assert Undelivered.objects.count() == 3


def test_answers_keep_the_callers_spelling(project, alice):
    alice.subscribe(project)
    lower = str(alice.account).lower()
    outcome = notify(project, DRAFT, [lower, str(alice.account), lower])
    assert outcome.sent == (lower, str(alice.account))
    # One account written in two ways is one recipient.
    assert Delivery.objects.count() == 1


def test_charlies_project_does_not_reach_our_subscribers(project, alice):
    from castserver.services.projects.projects import TypeDraft, create_project

    alice.subscribe(project)
    other, _ = create_project(
        "Other", url="https://other.example.org", types=[TypeDraft("alerts")]
    )
    outcome = notify(other, DRAFT, [str(alice.account)])
    assert outcome.not_found == (str(alice.account),)
    assert sent(tag=4002) == []


def test_ids_are_unique_and_ordered():
    first, second = rpc_ids(1500), rpc_ids(1500)
    assert len({*first, *second}) == 3000
    assert first == sorted(first)
    assert max(first + second) < 2**53
    assert first[0] // 1_000_000 == pytest.approx(clock.now_s(), abs=5)


def test_delivery_ids_follow_time():
    now = clock.now()
    found = []
    for milliseconds in range(20):
        with clock.frozen(now + timedelta(milliseconds=milliseconds)):
            [pk] = time_ordered_ids(1)
            found.append(pk)
    assert found == sorted(found)
    assert {pk.version for pk in found} == {7}
    assert len(set(time_ordered_ids(1000))) == 1000


@pytest.mark.parametrize(
    "change",
    [
        {"title": ""},
        {"title": "x" * 65},
        {"title": "two\nlines"},
        {"body": ""},
        {"body": "x" * 256},
        {"icon": "x" * 256},
        {"url": "x" * 256},
        {"type": "with space"},
    ],
)
def test_content_beyond_the_limits_is_refused(project, alice, change):
    alice.subscribe(project)
    before = counts()
    with pytest.raises(Invalid):
        notify(project, dataclasses.replace(DRAFT, **change), [str(alice.account)])
    assert counts() == before


def test_notifications_are_limited_per_app_and_account(project, alice, bob, settings):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, notify_subscriber=Bucket(2, 0.001)
    )
    alice.subscribe(project)
    bob.subscribe(project)
    accounts = [str(alice.account)]
    for _ in range(2):
        assert notify(project, DRAFT, accounts).sent == tuple(accounts)
    outcome = notify(project, DRAFT, [*accounts, str(bob.account)])
    assert outcome.sent == (str(bob.account),)
    assert "too many" in outcome.failed[0].reason
    assert Delivery.objects.count() == 3


def test_a_repeated_notification_id_sends_once(project, alice, bob):
    alice.subscribe(project)
    bob.subscribe(project)
    first = notify(project, DRAFT, [str(alice.account)], notification_id="gm-1")
    other = dataclasses.replace(DRAFT, title="Other")
    accounts = [str(alice.account), str(bob.account)]
    second = notify(project, other, accounts, notification_id="gm-1")
    assert first.notification_id == second.notification_id
    assert set(second.sent) == {str(alice.account), str(bob.account)}
    assert Notification.objects.get().title == "Hello"
    assert Delivery.objects.count() == 2
    assert len(sent(tag=4002)) == 2


def test_the_audience_is_counted_without_sending(project, alice, alice_laptop, bob):
    alice.subscribe(project)
    alice_laptop.subscribe(project)
    subscription = bob.subscribe(project)
    bob.update(project, subscription, {"news"})
    found = audience(project, "alerts")
    assert (found.subscribers, found.allowing) == (2, 1)
    assert sent(tag=4002) == []


def test_everyone_who_allows_the_type_gets_it(project, alice, bob, charlie):
    alice.subscribe(project)
    bob.subscribe(project)
    subscription = charlie.subscribe(project)
    charlie.update(project, subscription, {"news"})
    outcome = notify_everyone(project, DRAFT)
    assert set(outcome.sent) == {str(alice.account), str(bob.account)}


def many(project, count):
    """Subscribers as rows: what so many wallets would have left behind."""
    keys = [SymKey(entropy.key_bytes()) for _ in range(count)]
    keychain.put_sym_keys(keychain.Holder.CAST, keys)
    now = clock.now()
    Subscriber.objects.bulk_create(
        [
            Subscriber(
                project=project,
                account=f"eip155:1:0x{number:040x}",
                account_key=f"eip155:0x{number:040x}",
                topic=key.topic,
                scope=["alerts"],
                app=project.url,
                expires_at=now + timedelta(days=30),
                subscription_hash="0" * 64,
                last_iat=0,
                last_word_at=now,
                identity_did="did:key:z6Mk",
                created_at=now,
            )
            for number, key in enumerate(keys)
        ]
    )
    return keys


def accounts_of(count):
    return [f"eip155:1:0x{number:040x}" for number in range(count)]


def test_a_large_call_is_built_in_chunks(project):
    keys = many(project, CHUNK + 5)
    outcome = notify(project, DRAFT, accounts_of(CHUNK + 5))
    assert len(outcome.sent) == CHUNK + 5
    assert sent(tag=4002) == []
    pk = str(outcome.notification_id)
    assert send_deliveries(pk) == CHUNK
    assert send_deliveries(pk) == 5
    assert send_deliveries(pk) == 0
    assert len(sent(tag=4002)) == CHUNK + 5
    assert len(open_all(keys[-1], 4002)) == 1
    ids = Delivery.objects.values_list("rpc_id", flat=True)
    assert len(set(ids)) == CHUNK + 5


def test_a_large_call_takes_few_queries(project, django_assert_max_num_queries):
    many(project, 800)
    with django_assert_max_num_queries(22):
        notify_everyone(project, DRAFT)


def test_due_chunks_are_found_without_their_task(project):
    many(project, CHUNK + 1)
    notify(project, DRAFT, accounts_of(CHUNK + 1))
    assert [send_due_chunk() for _ in range(3)] == [CHUNK, 1, 0]
    assert OutboxMessage.objects.filter(tag=4002).count() == CHUNK + 1


def test_a_repeat_reaches_nobody_whose_delivery_is_due(project):
    many(project, CHUNK + 5)
    first = notify(project, DRAFT, accounts_of(CHUNK + 1), notification_id="once")
    assert send_deliveries(str(first.notification_id)) == CHUNK
    again = notify(project, DRAFT, accounts_of(CHUNK + 5), notification_id="once")
    assert len(again.sent) == CHUNK + 5
    while send_due_chunk():
        pass
    assert Delivery.objects.count() == CHUNK + 5
    assert OutboxMessage.objects.filter(tag=4002).count() == CHUNK + 5


def test_a_subscriber_that_left_before_its_chunk_gets_nothing(project):
    many(project, CHUNK + 1)
    outcome = notify(project, DRAFT, accounts_of(CHUNK + 1))
    leaver = Subscriber.objects.first()
    Subscriber.objects.filter(pk=leaver.pk).update(deleted_at=clock.now())
    while send_deliveries(str(outcome.notification_id)):
        pass
    assert not Delivery.objects.filter(subscriber=leaver).exists()
    assert sent(leaver.topic) == []


def test_an_unreadable_key_is_reported(project, alice, bob):
    broken = alice.subscribe(project)
    bob.subscribe(project)
    keychain.forget(keychain.Holder.CAST, [broken.topic])
    outcome = notify(project, DRAFT, [str(alice.account), str(bob.account)])
    assert outcome.sent == (str(bob.account),)
    assert outcome.failed[0].account == str(alice.account)
    assert Delivery.objects.count() == 1


# --- receipts -------------------------------------------------------------------------


def receipt(project, wallet, subscription, **changes):
    found = dataclasses.replace(received(project, wallet, subscription), **changes)
    return make_receipt(
        found,
        wallet.identity,
        sym_key=subscription.sym_key,
        iv=entropy.iv(),
        now=clock.now_s(),
    )


def test_a_receipt_is_noted_once(project, alice, alice_laptop):
    subscription = alice.subscribe(project)
    notify(project, DRAFT, [str(alice.account)])
    deliver(receipt(project, alice, subscription))
    first = Delivery.objects.get().receipt_at
    assert first is not None
    # The other device, and this one again after a replay from History.
    deliver(
        receipt(project, alice_laptop, subscription),
        receipt(project, alice, subscription),
    )
    assert Delivery.objects.get().receipt_at == first


def test_a_receipt_of_another_account_does_not_count(project, alice, bob):
    subscription = alice.subscribe(project)
    notify(project, DRAFT, [str(alice.account)])
    found = received(project, alice, subscription)
    [row] = deliver(
        make_receipt(
            found,
            bob.identity,
            sym_key=subscription.sym_key,
            iv=entropy.iv(),
            now=clock.now_s(),
        )
    )
    assert row.state == "refused"
    assert Delivery.objects.get().receipt_at is None


def test_a_receipt_for_no_delivery_is_dropped(project, alice):
    subscription = alice.subscribe(project)
    notify(project, DRAFT, [str(alice.account)])
    before = counts()
    [row] = deliver(receipt(project, alice, subscription, request_id=12345))
    assert row.state == "handled"
    assert counts() == before
    assert Delivery.objects.get().receipt_at is None


def test_a_wallet_that_cannot_read_it_gives_no_receipt(project, alice):
    from walletconnect.crypto.envelope import seal
    from walletconnect.relay.messages import Publication

    subscription = alice.subscribe(project)
    notify(project, DRAFT, [str(alice.account)])
    rpc_id = Delivery.objects.get().rpc_id
    error = JsonRpcError(rpc_id, -32000, "cannot read").to_json()
    [row] = deliver(
        Publication(
            subscription.topic,
            seal(error, subscription.sym_key, iv=entropy.iv()),
            4003,
            100,
        )
    )
    assert row.state == "handled"
    assert Delivery.objects.get().receipt_at is None


def test_receipts_of_many_come_in_one_batch(project):
    wallets = [Wallet(f"wallet{number}").register() for number in range(12)]
    subscriptions = [wallet.subscribe(project) for wallet in wallets]
    notify_everyone(project, DRAFT)
    deliver(
        *[
            receipt(project, wallet, subscription)
            for wallet, subscription in zip(wallets, subscriptions, strict=True)
        ]
    )
    assert Delivery.objects.exclude(receipt_at=None).count() == 12
