"""Steps 8 to 13: a wallet subscribes, and the Cast Server answers."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from castserver.models import Answer, Subscriber, WebhookDelivery
from castserver.services.webhooks.webhooks import register_webhook
from common import clock, entropy
from keychain import services as keychain
from messaging.models import TopicSubscription
from runlog.models import StepRecord
from tests.castserver.world import (
    Wallet,
    claims_of,
    counts,
    deliver,
    deliver_again,
    document_of,
    metadata_of,
    open_all,
    open_last,
    scope_of,
    sent,
)
from walletconnect.crypto.envelope import seal
from walletconnect.crypto.keys import KeyPair, derive_sym_key
from walletconnect.notify.claims import SubscriptionAuth
from walletconnect.notify.subscribe import settle_subscription
from walletconnect.relay.rpc import JsonRpcError, JsonRpcRequest, JsonRpcResult, parse


def test_an_account_subscribes(project, alice):
    subscription = alice.subscribe(project)
    [row] = Subscriber.objects.all()
    assert row.topic == subscription.topic
    assert row.account == str(alice.account)
    assert row.scope == ["alerts", "news", "gm_hourly"]
    assert row.is_later_generation is False
    # Both sides hold the same key P, each found by its topic.
    [key] = keychain.sym_keys(keychain.Holder.CAST, [subscription.topic]).values()
    assert key == subscription.sym_key
    # The Cast Server listens on the notify topic.
    wanted = TopicSubscription.objects.get(party="cast", topic=subscription.topic)
    assert wanted.state == "wanted"


def test_the_answer_has_the_form_of_the_v0_servers(project, alice):
    made, _ = alice.request(project)
    deliver(made.publish)
    [row] = sent(made.response_topic)
    assert (row.tag, row.ttl, row.prompt) == (4001, 2592000, False)
    answer = parse(open_last(made.sym_key_s))
    assert answer.id == made.pending.request_id
    claims = claims_of(answer.result["responseAuth"])
    assert claims["act"] == "notify_subscription_response"
    assert claims["iss"] == project.authentication_did
    assert claims["aud"] == alice.key.did
    assert claims["sub"].startswith("did:key:z6Mk")
    assert claims["app"] == project.url
    assert "sbs" not in claims


def test_the_steps_are_on_record(project, alice):
    made, _ = alice.request(project)
    deliver(made.publish)
    records = StepRecord.objects.filter(run=made.response_topic).order_by("step")
    assert [record.step for record in records] == [8, 9, 10, 11, 12, 13]
    assert {record.actor for record in records} == {"Cast Server"}
    recorded = str([record.wire for record in records])
    assert made.sym_key_s.hex() not in recorded
    [key] = keychain.sym_keys(
        keychain.Holder.CAST, Subscriber.objects.values_list("topic", flat=True)
    ).values()
    assert key.hex() not in recorded


def test_the_webhook_event_is_queued_once(project, alice):
    webhook, _ = register_webhook(
        project, "https://hooks.example.org/x", events=["subscribed"]
    )
    alice.subscribe(project)
    alice.subscribe(project)
    [delivery] = WebhookDelivery.objects.all()
    assert delivery.webhook_id == webhook.pk
    assert delivery.body == (
        f'{{"id":"{webhook.pk}","event":"subscribed",'
        f'"account":"{alice.account}","dappUrl":"{project.url}"}}'
    )


def test_the_same_message_is_handled_once(project, alice):
    made, _ = alice.request(project)
    deliver(made.publish)
    before = counts()
    assert deliver(made.publish) == []
    assert counts() == before
    assert len(sent(made.response_topic)) == 1


def test_a_replayed_request_gets_the_same_bytes(project, alice):
    made, _ = alice.request(project)
    deliver(made.publish)
    before = counts()
    deliver_again(made.publish)
    assert counts() == before
    first, second = sent(made.response_topic)
    assert first.message == second.message


def test_a_request_sealed_twice_is_one_request(project, alice):
    made, key_pair_y = alice.request(project)
    again, _ = alice.request(
        project, key_pair_y=key_pair_y, request_id=made.pending.request_id
    )
    assert again.publish.message != made.publish.message
    deliver(made.publish)
    deliver(again.publish)
    assert Subscriber.objects.count() == 1
    first, second = sent(made.response_topic)
    assert first.message == second.message


def test_a_request_sealed_twice_in_one_batch_is_one_request(project, alice):
    made, key_pair_y = alice.request(project)
    again, _ = alice.request(
        project, key_pair_y=key_pair_y, request_id=made.pending.request_id
    )
    messages = deliver(made.publish, again.publish)
    assert [message.state for message in messages] == ["handled", "handled"]
    assert Subscriber.objects.count() == 1
    assert len(sent(made.response_topic)) == 1


def test_a_batch_of_many_is_answered_in_one_go(project):
    wallets = [Wallet(f"wallet{number}").register() for number in range(30)]
    requests = [wallet.request(project) for wallet in wallets]
    messages = deliver(*[made.publish for made, _ in requests])
    assert {message.state for message in messages} == {"handled"}
    assert Subscriber.objects.count() == 30
    for made, key_pair_y in requests:
        answer = parse(open_last(made.sym_key_s))
        settle_subscription(
            made.pending, answer, key_pair_y=key_pair_y, now=clock.now_s()
        )


def test_a_second_subscribe_keeps_the_earlier_topic_alive(
    project, alice, alice_laptop, api
):
    first = alice.subscribe(project)
    second = alice_laptop.subscribe(project)
    assert first.topic != second.topic
    assert Subscriber.objects.live(clock.now()).count() == 2
    assert api.get("subscribers").json() == [str(alice.account)]
    answer = api.post(
        "notify",
        {
            "notification": {"type": "alerts", "title": "t", "body": "b"},
            "accounts": [str(alice.account)],
        },
    )
    assert answer.json()["sent"] == [str(alice.account)]
    assert len(sent(first.topic, 4002)) == len(sent(second.topic, 4002)) == 1


def test_topics_of_an_account_are_bounded(project, alice):
    subscriptions = [alice.subscribe(project) for _ in range(22)]
    live = Subscriber.objects.live(clock.now()).order_by("id")
    assert [row.topic for row in live] == [each.topic for each in subscriptions[2:]]


# --- refusals: one change from the valid case, an unchanged database ------------------


def refused(project, made, *, reason, state="refused"):
    """The request is answered with an error and leaves nothing behind."""
    before = counts()
    [message] = deliver(made.publish)
    assert (message.state, reason in message.reason) == (state, True), message.reason
    assert counts() == before
    answer = parse(open_last(made.sym_key_s))
    assert isinstance(answer, JsonRpcError)
    assert answer.id == made.pending.request_id
    assert sent(made.response_topic)[-1].tag == 4001


def test_it_refuses_an_unknown_identity_key(project):
    made, _ = Wallet("nobody").request(project)
    refused(project, made, reason="does not know the identity key")


def test_it_refuses_a_key_of_another_account(project, alice, bob):
    forged = dataclasses.replace(alice.identity, account=bob.account)
    alice.identity = forged
    made, _ = alice.request(project)
    refused(project, made, reason="cacao is not about this key and account")


def test_it_refuses_a_foreign_key_server(project, alice):
    alice.identity = dataclasses.replace(
        alice.identity, keys_server_url="https://keys.evil.example"
    )
    made, _ = alice.request(project)
    refused(project, made, reason="ksu")


def test_it_refuses_another_dapps_audience(project, alice):
    other = dataclasses.replace(document_of(project), authentication=b"\x01" * 32)
    from walletconnect.notify.subscribe import request_subscription

    made = request_subscription(
        other,
        alice.identity,
        key_pair_y=KeyPair.from_private(entropy.key_bytes()),
        metadata=metadata_of(project),
        scope=scope_of(project),
        request_id=clock.payload_id(),
        iv=entropy.iv(),
        now=clock.now_s(),
    )
    refused(project, made, reason="aud")


def test_it_refuses_another_app(project, alice):
    made, _ = alice.request(project, app="https://elsewhere.example.org")
    refused(project, made, reason="app")


@pytest.mark.parametrize("seconds", [-31 * 86400, 125])
def test_it_refuses_a_token_out_of_time(project, alice, seconds):
    made, _ = alice.request(project, now=clock.now_s() + seconds)
    refused(project, made, reason="did-jwt")


@pytest.mark.parametrize("seconds", [-30, 115])
def test_it_accepts_clocks_that_are_a_little_off(project, alice, seconds):
    alice.subscribe(project, now=clock.now_s() + seconds)
    assert Subscriber.objects.count() == 1


def test_it_refuses_a_changed_signature(project, alice):
    key_pair_y = KeyPair.from_private(entropy.key_bytes())
    document = document_of(project)
    token = SubscriptionAuth(
        iat=clock.now_s(),
        exp=clock.now_s() + 30,
        iss=alice.key.did,
        sub=alice.account.did,
        aud=document.authentication_did,
        ksu=alice.identity.keys_server_url,
        scp=("alerts",),
        app=project.url,
    ).sign(alice.key)
    head, _, signature = token.rpartition(".")
    other = ("A" if signature[0] != "A" else "B") + signature[1:]
    message = raw_request(project, key_pair_y, {"subscriptionAuth": f"{head}.{other}"})
    before = counts()
    [row] = deliver(message)
    assert row.state == "refused"
    assert "signature does not fit" in row.reason
    assert counts() == before


def raw_request(project, key_pair_y, params, request_id=1234567890123456):
    document = document_of(project)
    sym_key = derive_sym_key(key_pair_y, document.key_agreement)
    request = JsonRpcRequest(request_id, "wc_notifySubscribe", params)
    from walletconnect.relay.messages import Publication

    return Publication(
        topic=project.subscribe_topic,
        message=seal(
            request.to_json(),
            sym_key,
            iv=entropy.iv(),
            sender=key_pair_y.public_key,
        ),
        tag=4000,
        ttl=30,
    )


@pytest.mark.parametrize(
    "params", [{}, {"subscriptionAuth": 5}, {"subscriptionAuth": "a.b"}]
)
def test_it_answers_a_malformed_request_with_an_error(project, params):
    key_pair_y = KeyPair.from_private(entropy.key_bytes())
    before = counts()
    [row] = deliver(raw_request(project, key_pair_y, params))
    assert row.state == "refused"
    assert counts() == before
    sym_key = derive_sym_key(key_pair_y, bytes.fromhex(project.public_key_x))
    [answer] = open_all(sym_key)
    assert isinstance(answer, JsonRpcError)
    assert answer.code == -1


def test_rubbish_on_the_subscribe_topic_is_dropped_unanswered(project):
    from walletconnect.relay.messages import Publication

    before = counts()
    deliver(
        *[
            Publication(project.subscribe_topic, text, 4000, 30)
            for text in (
                "AAAA",
                "AQ==",
                "Agh0dHA=",
                seal("{}", derive_random(), iv=entropy.iv()),
            )
        ]
    )
    assert counts() == before
    assert sent() == []


def derive_random():
    from walletconnect.crypto.keys import SymKey

    return SymKey(entropy.key_bytes())


def test_a_request_from_before_the_delete_is_refused(project, alice):
    """Late and reordered: the account has left since this was signed."""
    signed = clock.now()
    with clock.frozen(signed):
        late, _ = alice.request(project)
        subscription = alice.subscribe(project)
    with clock.frozen(signed + timedelta(seconds=10)):
        alice.delete(project, subscription)
        refused(project, late, reason="overtaken")
    with clock.frozen(signed + timedelta(seconds=11)):
        alice.subscribe(project)
    assert Subscriber.objects.live(clock.now()).count() == 1


def test_an_answer_is_not_sent_again_after_the_delete(project, alice):
    made, key_pair_y = alice.request(project)
    deliver(made.publish)
    answer = parse(open_last(made.sym_key_s))
    assert isinstance(answer, JsonRpcResult)
    subscription = settle_subscription(
        made.pending, answer, key_pair_y=key_pair_y, now=clock.now_s()
    ).subscription
    alice.delete(project, subscription)
    deliver_again(made.publish)
    assert len(sent(made.response_topic)) == 1


def test_another_projects_topic_does_not_serve(project, alice):
    from castserver.services.projects.projects import create_project

    other, _ = create_project("Other", url="https://other.example.org")
    made, _ = alice.request(project)
    # Sealed for the one, sent to the other: it does not open.
    before = counts()
    [row] = deliver(dataclasses.replace(made.publish, topic=other.subscribe_topic))
    assert row.state == "refused"
    assert counts() == before
    assert sent() == []


def test_too_many_types_are_refused(project, alice, settings):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, scopes_per_subscription=2)
    made, _ = alice.request(project)
    refused(project, made, reason="too many types")


def test_too_many_subscriptions_are_refused(project, alice, settings):
    from castserver.services.projects.projects import create_project

    settings.LIMITS = dataclasses.replace(settings.LIMITS, subscriptions_per_account=1)
    alice.subscribe(project)
    other, _ = create_project("Other", url="https://other.example.org")
    made, _ = alice.request(other)
    refused(other, made, reason="too many subscriptions")
    # Again at the first dapp is no further subscription.
    alice.subscribe(project)


def test_a_client_beyond_its_rate_gets_an_error(project, alice, settings):
    from common.limits import Bucket

    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, subscribe_client=Bucket(1, 0.001)
    )
    alice.subscribe(project)
    made, _ = alice.request(project)
    refused(project, made, reason="too many requests")


def test_requests_beyond_the_projects_rate_are_unanswered(
    project, alice, bob, settings
):
    from common.limits import Bucket

    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, subscribe_project=Bucket(1, 0.001)
    )
    alice.subscribe(project)
    made, _ = bob.request(project)
    before = counts()
    [row] = deliver(made.publish)
    assert row.state == "refused"
    assert counts() == before
    assert sent(made.response_topic) == []


def test_it_waits_for_a_key_server_that_does_not_answer(project, alice, settings):
    closed = "http://localhost:1"
    settings.ALLOWED_KEYS_SERVERS = [*settings.ALLOWED_KEYS_SERVERS, closed]
    settings.OUTBOUND_ALLOW = ["localhost"]
    stranger = Wallet("stranger")
    stranger.identity = dataclasses.replace(stranger.identity, keys_server_url=closed)
    made, _ = stranger.request(project)
    before = counts()
    [row] = deliver(made.publish)
    assert row.state == "due"
    assert counts() == before
    assert Answer.objects.count() == 0
