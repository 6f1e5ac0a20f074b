"""An account changes its types, and leaves: in order, late, doubled, and by others."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from castserver.models import Subscriber, WebhookDelivery
from castserver.services.subscribers.subscription_list import subscriptions_of
from castserver.services.upkeep import expire_subscribers, prune
from castserver.services.webhooks.webhooks import register_webhook
from common import clock, entropy
from keychain import services as keychain
from messaging.models import TopicSubscription
from tests.castserver.world import (
    Wallet,
    claims_of,
    counts,
    deliver,
    deliver_again,
    open_all,
    open_last,
    sent,
)
from walletconnect.crypto.keys import hash_text
from walletconnect.notify.claims import DeleteAuth
from walletconnect.notify.subscribe import settle_subscription
from walletconnect.notify.update import request_update, settle_update
from walletconnect.relay.rpc import JsonRpcError, JsonRpcRequest, JsonRpcResult, parse


def live():
    return Subscriber.objects.live(clock.now())


def test_an_update_changes_the_scope(project, alice):
    subscription = alice.subscribe(project)
    made = alice.update(project, subscription, {"alerts"})
    [row] = live()
    assert row.scope == ["alerts"]
    answer = parse(open_last(subscription.sym_key, 4009))
    settled = settle_update(made.pending, answer, subscription, now=clock.now_s())
    assert settled.scope.enabled == ("alerts",)
    claims = claims_of(answer.result["responseAuth"])
    assert claims["act"] == "notify_update_response"
    assert claims["sub"] == made.pending.update_hash == row.subscription_hash
    assert "sbs" not in claims


def test_an_update_may_allow_nothing(project, alice, api):
    subscription = alice.subscribe(project)
    alice.update(project, subscription, set())
    assert live().get().scope == []
    answer = api.post(
        "notify",
        {
            "notification": {"type": "alerts", "title": "t", "body": "b"},
            "accounts": [str(alice.account)],
        },
    ).json()
    assert answer["sent"] == []
    assert answer["failed"][0]["account"] == str(alice.account)


def test_an_update_renews_the_life(project, alice):
    subscription = alice.subscribe(project)
    with clock.frozen(clock.now() + timedelta(days=20)):
        alice.update(project, subscription, {"alerts"})
        expires_at = live().get().expires_at
        assert expires_at > clock.now() + timedelta(days=29)


def test_an_update_queues_no_webhook_event(project, alice):
    register_webhook(
        project, "https://hooks.example.org", events=["subscribed", "unsubscribed"]
    )
    subscription = alice.subscribe(project)
    alice.update(project, subscription, {"alerts"})
    assert [each.event for each in WebhookDelivery.objects.all()] == ["subscribed"]


def test_the_same_update_twice_is_one(project, alice):
    subscription = alice.subscribe(project)
    made = alice.update(project, subscription, {"alerts"})
    before = counts()
    deliver_again(made.publish)
    assert counts() == before
    first, second = sent(subscription.topic, 4009)
    assert first.message == second.message


def test_an_older_update_does_not_overtake(project, alice):
    """The newest request decides, in whichever order they arrive."""
    subscription = alice.subscribe(project)
    older = clock.now_s() + 1
    alice.update(project, subscription, {"news"}, now=older + 5)
    before = counts()
    alice.update(project, subscription, {"alerts"}, now=older)
    assert live().get().scope == ["news"]
    assert counts() == before
    assert isinstance(parse(open_last(subscription.sym_key, 4009)), JsonRpcError)


def test_a_wrong_clock_does_not_lock_the_subscription(project, alice, alice_laptop):
    subscription = alice.subscribe(project)
    alice.update(project, subscription, {"news"}, now=clock.now_s() + 100)
    with clock.frozen(clock.now() + timedelta(seconds=2)):
        alice_laptop.update(project, subscription, {"alerts"})
    assert live().get().scope == ["alerts"]


@pytest.mark.parametrize("who", ["bob", "unregistered"])
def test_other_identities_cannot_update(project, alice, bob, who):
    subscription = alice.subscribe(project)
    intruder = bob if who == "bob" else Wallet("eve")
    before = counts()
    intruder.update(project, subscription, {"news"})
    assert live().get().scope == ["alerts", "news", "gm_hourly"]
    assert counts() == before
    assert isinstance(parse(open_last(subscription.sym_key, 4009)), JsonRpcError)


def test_a_batch_of_updates_ends_in_the_last(project, alice):
    subscription = alice.subscribe(project)
    requests = [
        request_update(
            subscription,
            alice.identity,
            enabled=enabled,
            dapp_did=project.authentication_did,
            request_id=clock.payload_id(),
            iv=entropy.iv(),
            now=clock.now_s(),
        )
        for enabled in ({"alerts"}, {"news"}, {"gm_hourly"})
    ]
    deliver(*[made.publish for made in requests])
    assert live().get().scope == ["gm_hourly"]
    assert len(sent(subscription.topic, 4009)) == 3


# --- delete ---------------------------------------------------------------------------


def test_an_account_unsubscribes(project, alice, api):
    register_webhook(
        project, "https://hooks.example.org", events=["subscribed", "unsubscribed"]
    )
    subscription = alice.subscribe(project)
    subscription_hash = live().get().subscription_hash
    alice.delete(project, subscription)
    assert not live().exists()
    answer = parse(open_last(subscription.sym_key, 4005))
    claims = claims_of(answer.result["responseAuth"])
    assert claims["act"] == "notify_delete_response"
    assert claims["sub"] == subscription_hash
    topic = TopicSubscription.objects.get(party="cast", topic=subscription.topic)
    assert topic.state == "unwanted"
    events = [each.event for each in WebhookDelivery.objects.order_by("created_at")]
    assert events == ["subscribed", "unsubscribed"]
    assert api.get("subscribers").json() == []


def test_nothing_is_sent_after_a_delete(project, alice, api):
    subscription = alice.subscribe(project)
    alice.delete(project, subscription)
    answer = api.post(
        "notify",
        {
            "notification": {"type": "alerts", "title": "t", "body": "b"},
            "accounts": [str(alice.account)],
        },
    ).json()
    assert answer["notFound"] == [str(alice.account)]
    assert sent(subscription.topic, 4002) == []


def test_a_delete_by_each_device_is_one_event(project, alice, alice_laptop):
    register_webhook(project, "https://hooks.example.org", events=["unsubscribed"])
    subscription = alice.subscribe(project)
    alice.delete(project, subscription)
    before = counts()
    alice_laptop.delete(project, subscription)
    assert counts() == before
    assert WebhookDelivery.objects.count() == 1
    assert len(sent(subscription.topic, 4005)) == 1


def test_an_update_after_the_delete_is_ignored(project, alice):
    subscription = alice.subscribe(project)
    alice.delete(project, subscription)
    before = counts()
    alice.update(project, subscription, {"alerts"})
    assert counts() == before
    assert sent(subscription.topic, 4009) == []


def test_other_identities_cannot_delete(project, alice, bob):
    subscription = alice.subscribe(project)
    before = counts()
    bob.delete(project, subscription)
    assert live().count() == 1
    assert counts() == before
    assert isinstance(parse(open_last(subscription.sym_key, 4005)), JsonRpcError)


def test_leaving_the_newest_topic_ends_the_older_ones(project, alice, alice_laptop):
    register_webhook(project, "https://hooks.example.org", events=["unsubscribed"])
    first = alice.subscribe(project)
    second = alice_laptop.subscribe(project)
    alice_laptop.delete(project, second)
    assert not live().exists()
    assert WebhookDelivery.objects.count() == 1
    # A device with the older topic gets a delete notification from the dapp.
    [deleted] = open_all(first.sym_key, 4004)
    assert isinstance(deleted, JsonRpcRequest)
    auth = DeleteAuth.read(deleted.params["deleteAuth"], now=clock.now_s())
    assert auth.iss == project.authentication_did
    assert sent(second.topic, 4004) == []


def test_leaving_an_older_topic_keeps_the_newer(project, alice, alice_laptop, api):
    register_webhook(project, "https://hooks.example.org", events=["unsubscribed"])
    first = alice.subscribe(project)
    second = alice_laptop.subscribe(project)
    alice.delete(project, first)
    assert [row.topic for row in live()] == [second.topic]
    assert WebhookDelivery.objects.count() == 0
    assert api.get("subscribers").json() == [str(alice.account)]


@pytest.fixture
def reversed_pair(project, alice, alice_laptop):
    """Two subscribes that arrive in the reverse of the order in which they were signed.

    The subscriptions, older first. In one batch or in two makes no difference.
    """
    now = clock.now()
    made = []
    for seconds, wallet in ((0, alice), (5, alice_laptop)):
        with clock.frozen(now + timedelta(seconds=seconds)):
            made.append(wallet.request(project))
    with clock.frozen(now + timedelta(seconds=6)):
        for request, _ in reversed(made):
            deliver(request.publish)
        yield [
            settle_subscription(
                request.pending,
                parse(open_last(request.sym_key_s)),
                key_pair_y=key_pair_y,
                now=clock.now_s(),
            ).subscription
            for request, key_pair_y in made
        ]


def test_leaving_the_topic_signed_last_ends_one_that_arrived_after_it(
    project, alice_laptop, reversed_pair
):
    older, newer = reversed_pair
    alice_laptop.delete(project, newer)
    assert not live().exists()
    assert len(open_all(older.sym_key, 4004)) == 1


def test_leaving_the_topic_signed_first_keeps_one_that_arrived_before_it(
    project, alice, reversed_pair
):
    older, newer = reversed_pair
    alice.delete(project, older)
    assert [row.topic for row in live()] == [newer.topic]


def test_later_clients_are_listed_the_topic_that_was_signed_last(reversed_pair, alice):
    [found] = subscriptions_of({alice.account.key})[alice.account.key]
    assert found.sym_key == reversed_pair[1].sym_key


def test_a_request_that_was_long_on_its_way_takes_the_place_of_the_oldest(
    project, alice, settings
):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, topics_per_subscriber=2)
    now = clock.now()
    with clock.frozen(now):
        late, _ = alice.request(project)
    topics = []
    for seconds in (1, 2):
        with clock.frozen(now + timedelta(seconds=seconds)):
            topics.append(alice.subscribe(project).topic)
    with clock.frozen(now + timedelta(seconds=3)):
        deliver(late.publish)
        assert isinstance(parse(open_last(late.sym_key_s)), JsonRpcResult)
    assert live().count() == 2
    assert topics[1] in {row.topic for row in live()}
    assert topics[0] not in {row.topic for row in live()}


def test_other_messages_on_the_notify_topic_are_dropped(project, alice):
    """Responses of other wallets, and our own messages, arrive there too."""
    from walletconnect.notify.answers import publish_result
    from walletconnect.notify.methods import DELETE, SUBSCRIBE, UPDATE

    subscription = alice.subscribe(project)
    before = counts()
    noise = [
        publish_result(
            method,
            {"responseAuth": ""},
            request_id=clock.payload_id(),
            sym_key=subscription.sym_key,
            iv=entropy.iv(),
        )
        for method in (DELETE, SUBSCRIBE, UPDATE)
    ]
    noise.append(dataclasses.replace(noise[0], tag=4002))
    noise.append(dataclasses.replace(noise[0], tag=4004))
    deliver(*noise)
    assert counts() == before
    assert live().count() == 1


# --- time -----------------------------------------------------------------------------


def test_a_subscription_ends_at_its_expiry(project, alice):
    register_webhook(project, "https://hooks.example.org", events=["unsubscribed"])
    subscription = alice.subscribe(project)
    assert expire_subscribers() == 0
    with clock.frozen(clock.now() + timedelta(days=31)):
        assert expire_subscribers() == 1
        assert expire_subscribers() == 0
    assert not live().exists()
    assert WebhookDelivery.objects.count() == 1
    topic = TopicSubscription.objects.get(party="cast", topic=subscription.topic)
    assert topic.state == "unwanted"


def test_expiry_does_not_refuse_a_later_subscribe(project, alice):
    """An account whose subscription ran out may come back with any clock."""
    alice.subscribe(project)
    with clock.frozen(clock.now() + timedelta(days=31)):
        expire_subscribers()
        Wallet("alice", "phone").register()
        alice.subscribe(project, now=clock.now_s() - 100)
        assert live().count() == 1


def test_keys_of_ended_topics_are_deleted_after_a_month(project, alice):
    subscription = alice.subscribe(project)
    alice.delete(project, subscription)
    prune()
    assert keychain.sym_keys(keychain.Holder.CAST, [subscription.topic])
    with clock.frozen(clock.now() + timedelta(days=32)):
        prune()
    assert keychain.sym_keys(keychain.Holder.CAST, [subscription.topic]) == {}
    assert Subscriber.objects.count() == 1


def test_messages_carry_the_hash_of_the_last_update(project, alice, api):
    subscription = alice.subscribe(project)
    made = alice.update(project, subscription, {"alerts"})
    answer = parse(open_last(subscription.sym_key, 4009))
    assert isinstance(answer, JsonRpcResult)
    api.post(
        "notify",
        {
            "notification": {"type": "alerts", "title": "t", "body": "b"},
            "accounts": [str(alice.account)],
        },
    )
    request = parse(open_last(subscription.sym_key, 4002))
    claims = claims_of(request.params["messageAuth"])
    assert claims["sub"] == made.pending.update_hash
    token = parse_request_token(made)
    assert claims["sub"] == hash_text(token)


def parse_request_token(made):
    from messaging.models import InboxMessage

    assert InboxMessage.objects.filter(message_id=made.publish.message_id).exists()
    from walletconnect.crypto.envelope import open_envelope

    key = keychain.sym_keys(keychain.Holder.CAST, [made.publish.topic])
    [sym_key] = key.values()
    return parse(open_envelope(made.publish.message, sym_key)).params["updateAuth"]
