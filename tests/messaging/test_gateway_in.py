"""Deliveries are stored, committed, then acknowledged, also across crashes."""

from __future__ import annotations

import dataclasses
import json

import pytest
from django.conf import settings
from django.db import connection

from common import entropy
from messaging import outbox, services
from messaging.models import (
    InboxMessage,
    OutboxMessage,
    Party,
    PartyClient,
    TopicSubscription,
)
from messaging.shards import SHARDS
from runlog import services as runlog
from subscriptions.services import RECORD_TOPIC_STEP
from subscriptions.services.subscribe.topic_steps import topic_step
from tests.messaging.conftest import (
    TAG,
    envelope,
    make_key,
    publish,
    received,
    states,
    wait_for,
)
from walletconnect.crypto.keys import SymKey
from walletconnect.notify.steps import Step
from walletconnect.relay.messages import Publication

QUEUE = f"celery:{settings.CELERY_TASK_DEFAULT_QUEUE}"


def subscribe(*topics: str, party: Party = Party.WALLET) -> None:
    outbox.subscribe(party, topics)


def all_confirmed() -> bool:
    return not TopicSubscription.objects.filter(confirmed_at=None).exists()


def stored(count: int):
    return lambda: InboxMessage.objects.count() == count


# --- against a scripted relay -------------------------------------------------------------


def test_deliveries_are_stored_in_order_and_acknowledged(
    start_gateway, recording_relay
):
    start_gateway(recording_relay.url)
    wait_for(recording_relay.clients)
    key = make_key()
    texts = [envelope(key, n) for n in range(300)]
    frames = recording_relay.deliver(key.topic, texts, tag=TAG)
    wait_for(lambda: len(recording_relay.acknowledged) == 300)
    assert recording_relay.acknowledged == frames
    rows = InboxMessage.objects.order_by("id")
    assert [row.message for row in rows] == texts
    assert {row.state for row in rows} == {"due"}
    assert {row.tag for row in rows} == {TAG}


def test_every_copy_is_acknowledged_and_one_is_kept(start_gateway, recording_relay):
    start_gateway(recording_relay.url)
    wait_for(recording_relay.clients)
    key = make_key()
    texts = [envelope(key, n) for n in range(20)]
    recording_relay.deliver(key.topic, texts * 3, tag=TAG)
    recording_relay.deliver(key.topic, texts[::-1], tag=TAG)
    wait_for(lambda: len(recording_relay.acknowledged) == 80)
    assert InboxMessage.objects.count() == 20


def test_nothing_is_acknowledged_that_could_not_be_stored(
    start_gateway, recording_relay, monkeypatch
):
    from messaging.gateway import inbox as gateway_inbox

    monkeypatch.setattr(gateway_inbox, "INSERT", "SELECT nothing_like_this")
    start_gateway(recording_relay.url)
    wait_for(recording_relay.clients)
    key = make_key()
    recording_relay.deliver(key.topic, [envelope(key)], tag=TAG)
    # The session ends instead, and a relay would deliver the message again.
    wait_for(lambda: recording_relay.connects >= 2)
    assert recording_relay.acknowledged == []
    monkeypatch.undo()
    wait_for(recording_relay.clients)
    wait_for(lambda: recording_relay.deliver(key.topic, [envelope(key)], tag=TAG))
    wait_for(lambda: len(recording_relay.acknowledged) >= 1)
    assert InboxMessage.objects.count() == 1


def test_what_is_no_message_is_acknowledged_and_forgotten(
    start_gateway, recording_relay
):
    start_gateway(recording_relay.url)
    wait_for(recording_relay.clients)
    key = make_key()
    for text in ("a\0b", "é" * 10, "A" * (512 * 1024 + 1)):
        recording_relay.deliver(key.topic, [text], tag=TAG)
    recording_relay.deliver("no topic", [envelope(key)], tag=TAG)
    recording_relay.deliver(key.topic, [envelope(key)], tag=2**40)
    recording_relay.deliver(key.topic, [envelope(key)], tag=TAG)
    wait_for(lambda: len(recording_relay.acknowledged) == 6)
    assert InboxMessage.objects.count() == 1


def test_strange_frames_do_not_end_the_connection(start_gateway, recording_relay):
    start_gateway(recording_relay.url)
    wait_for(recording_relay.clients)
    strange = {"id": 99, "jsonrpc": "2.0", "method": "irn_explode", "params": {}}
    recording_relay.send(
        [
            "not json",
            "[]",
            "{}",
            "\N{GRINNING FACE}",
            '{"id":1,"jsonrpc":"2.0","result":true}',
            '{"id":null,"jsonrpc":"2.0","error":{"code":1,"message":"x"}}',
            '{"id":4,"jsonrpc":"2.0","method":"irn_subscription","params":{}}',
            '{"id":5,"jsonrpc":"2.0","method":"irn_subscription","params":[]}',
            json.dumps(strange),
        ]
    )
    key = make_key()
    recording_relay.deliver(key.topic, [envelope(key)], tag=TAG)
    wait_for(stored(1))
    assert recording_relay.connects == 1


def test_topics_are_subscribed_again_after_every_connect_in_batches(
    start_gateway, recording_relay
):
    topics = [SymKey(entropy.key_bytes()).topic for _ in range(1_203)]
    subscribe(*topics)
    start_gateway(recording_relay.url)
    wait_for(all_confirmed)
    assert set(recording_relay.subscribed) == set(topics)
    recording_relay.subscribed.clear()
    before = recording_relay.methods().count("irn_batchSubscribe")
    recording_relay.cut()
    wait_for(lambda: len(recording_relay.subscribed) == 1_203)
    batches = [
        len(frame["params"]["topics"])
        for frame in recording_relay.frames
        if frame["method"] == "irn_batchSubscribe"
    ]
    assert batches[before : before + 3] == [500, 500, 203]


def test_topics_follow_the_rows_while_connected(start_gateway, recording_relay):
    start_gateway(recording_relay.url)
    wait_for(recording_relay.clients)
    key, other = make_key(), make_key()
    subscribe(key.topic, other.topic)
    wait_for(all_confirmed)
    assert set(recording_relay.subscribed) == {key.topic, other.topic}
    outbox.unsubscribe(Party.WALLET, [key.topic])
    wait_for(all_confirmed)
    assert set(recording_relay.subscribed) == {other.topic}
    subscribe(key.topic)
    wait_for(all_confirmed)
    assert set(recording_relay.subscribed) == {key.topic, other.topic}


def test_topics_beyond_the_limit_of_a_client_are_spread_over_lanes(
    start_gateway, recording_relay, settings
):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, relay_topics_per_client=100)
    heard: dict[str, set[str]] = {}

    def count_topics(method, params):
        # As a relay counts: by client.
        if method == "batchSubscribe":
            topics = heard.setdefault(recording_relay.caller, set())
            if len(topics | set(params["topics"])) > 100:
                return {"code": -32000, "message": "Subscriber limit exceeded"}
            topics.update(params["topics"])
        return None

    recording_relay.on_call = count_topics
    keys = [make_key() for _ in range(250)]
    subscribe(*(key.topic for key in keys[:85]))
    start_gateway(recording_relay.url)
    wait_for(all_confirmed)
    subscribe(*(key.topic for key in keys[85:]))
    wait_for(all_confirmed)
    # What one client subscribed, whichever of its connections did.
    lanes = PartyClient.objects.filter(party=Party.WALLET)
    assert 3 <= lanes.count() <= 8
    assert all(len(topics) <= 100 for topics in heard.values())
    assert set(recording_relay.subscribed) == {key.topic for key in keys}
    wait_for(lambda: len(recording_relay.clients()) == lanes.count())
    # The client that subscribed a topic publishes on it, so it receives no echo.
    publish(
        Party.WALLET,
        [Publication(key.topic, envelope(key), TAG, 300) for key in keys],
    )
    wait_for(lambda: set(states(OutboxMessage)) == {"sent"})
    live = {token: heard[token] for token in recording_relay.clients()}
    assert sum(len(topics) for topics in live.values()) == 250
    for client, topics in live.items():
        assert recording_relay.published_by[client] == topics


def shards_of(party: Party) -> list[int]:
    """Every shard of every lane of the party, in order."""
    return sorted(
        shard
        for client in PartyClient.objects.filter(party=party)
        for shard in range(client.first_shard, client.last_shard + 1)
    )


def test_lanes_that_split_again_and_again_serve_every_shard_once(
    start_gateway, recording_relay, settings
):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, relay_topics_per_client=10)
    topics = [make_key().topic for _ in range(30)]
    subscribe(*topics[:9])
    start_gateway(recording_relay.url)
    wait_for(all_confirmed)
    assert PartyClient.objects.count() == 1
    for start in range(9, 30, 7):
        subscribe(*topics[start : start + 7])
        wait_for(all_confirmed)
    assert shards_of(Party.WALLET) == list(range(SHARDS))
    assert set(recording_relay.subscribed) == set(topics)


def test_topics_inserted_one_by_one_share_one_lane(start_gateway, recording_relay):
    start_gateway(recording_relay.url)
    wait_for(recording_relay.clients)
    for _ in range(400):
        subscribe(*(make_key().topic for _ in range(5)))
    wait_for(all_confirmed)
    assert PartyClient.objects.filter(party=Party.WALLET).count() == 1
    assert len(recording_relay.subscribed) == 2_000


def test_lanes_with_few_topics_are_merged(
    start_gateway, recording_relay, settings, monkeypatch
):
    from messaging.gateway import party

    monkeypatch.setattr(party, "MERGE_CHECK_S", 0.2)
    settings.LIMITS = dataclasses.replace(settings.LIMITS, relay_topics_per_client=10)
    topics = [make_key().topic for _ in range(12)]
    subscribe(*topics)
    start_gateway(recording_relay.url)
    wait_for(all_confirmed)
    assert PartyClient.objects.filter(party=Party.WALLET).count() >= 2
    outbox.unsubscribe(Party.WALLET, topics[:8])
    wait_for(lambda: PartyClient.objects.filter(party=Party.WALLET).count() == 1)
    assert PartyClient.objects.get(party=Party.WALLET).lane == 0
    assert shards_of(Party.WALLET) == list(range(SHARDS))
    wait_for(all_confirmed)
    assert set(recording_relay.subscribed) >= set(topics[8:])


def test_a_refused_topic_stays_pending_and_is_asked_for_again(
    start_gateway, recording_relay
):
    full = {"code": -32000, "message": "Subscriber limit exceeded"}
    recording_relay.on_call = lambda method, params: (
        full if method == "batchSubscribe" else None
    )
    subscribe(make_key().topic)
    start_gateway(recording_relay.url)
    wait_for(lambda: recording_relay.methods().count("irn_batchSubscribe") >= 2)
    assert not all_confirmed()
    recording_relay.on_call = lambda method, params: None
    wait_for(all_confirmed)


# --- against the real relay, with real kills ----------------------------------------------


class Peer:
    """The dapp side of a test: another client of the same relay."""

    def __init__(self, url: str, start_gateway) -> None:
        self.url = url
        start_gateway(url, (Party.CAST,))

    def publish(self, key: SymKey, *numbers: int) -> None:
        outbox.publish_all(
            Party.CAST,
            [Publication(key.topic, envelope(key, n), TAG, 300) for n in numbers],
        )


@pytest.fixture
def peer(local_relay, start_gateway):
    return Peer(local_relay, start_gateway)


def test_what_one_party_publishes_the_other_receives(peer, start_gateway, handler):
    key = make_key()
    subscribe(key.topic)
    start_gateway(peer.url)
    peer.publish(key, 1, 2, 3)
    wait_for(stored(3))
    services.handle_due(10)
    assert handler.numbers() == [1, 2, 3]
    wait_for(lambda: set(states(OutboxMessage)) == {"sent"})


def test_messages_sent_before_we_listened_come_from_the_mailbox(
    peer, start_gateway, handler
):
    key = make_key()
    peer.publish(key, *range(50))
    wait_for(lambda: set(states(OutboxMessage)) == {"sent"})
    subscribe(key.topic)
    start_gateway(peer.url)
    wait_for(stored(50))
    services.handle_due(10)
    assert handler.numbers() == list(range(50))


@pytest.mark.parametrize(
    ("failpoint", "rows_after"),
    [("gateway.inbox.before_commit", 0), ("gateway.inbox.after_commit", 3)],
)
def test_a_gateway_killed_around_the_commit_loses_and_doubles_nothing(
    peer, start_program, handler, failpoint, rows_after
):
    key = make_key()
    handler.effect_key = make_key()
    peer.publish(key, 1, 2, 3)
    wait_for(lambda: set(states(OutboxMessage)) == {"sent"})
    subscribe(key.topic)
    environment = {"RELAY_URL": peer.url}
    victim = start_program(
        "gateway", "--party", "wallet", NOTIFYWEB_FAILPOINTS=failpoint, **environment
    )
    victim.wait_killed()
    assert InboxMessage.objects.count() == rows_after
    services.handle_due(10)
    start_program("gateway", "--party", "wallet", **environment)
    wait_for(stored(3))
    wait_for(lambda: TopicSubscription.objects.get().confirmed_at)
    # Nothing comes a second time: the last message of all arrives, and is the only one.
    peer.publish(key, 4)
    wait_for(stored(4))
    services.handle_due(10)
    assert sorted(handler.numbers()) == [1, 2, 3, 4]
    assert OutboxMessage.objects.filter(party="wallet").count() == 4


@pytest.mark.parametrize(
    "failpoint",
    [
        "gateway.outbox.before_publish",
        "gateway.outbox.before_mark",
        "gateway.outbox.after_mark",
    ],
)
def test_a_gateway_killed_while_publishing_delivers_each_message_once(
    peer, start_program, start_gateway, failpoint
):
    key = make_key(Party.CAST)
    subscribe(key.topic, party=Party.CAST)
    wait_for(all_confirmed)
    texts = [envelope(key, n) for n in range(5)]
    outbox.publish_all(
        Party.WALLET, [Publication(key.topic, text, TAG, 300) for text in texts]
    )
    victim = start_program(
        "gateway",
        "--party",
        "wallet",
        NOTIFYWEB_FAILPOINTS=failpoint,
        RELAY_URL=peer.url,
    )
    victim.wait_killed()
    start_gateway(peer.url)
    wait_for(lambda: set(states(OutboxMessage)) == {"sent"})
    last = envelope(key, 99)
    outbox.publish_all(Party.WALLET, [Publication(key.topic, last, TAG, 300)])
    wait_for(lambda: InboxMessage.objects.filter(message=last).exists())
    found = InboxMessage.objects.order_by("id").values_list("message", flat=True)
    assert list(found) == [*texts, last]


def test_a_relay_that_is_killed_and_comes_back_changes_nothing(
    start_relay, start_gateway, handler
):
    relay, url = start_relay()
    peer = Peer(url, start_gateway)
    key = make_key()
    subscribe(key.topic)
    start_gateway(url)
    wait_for(all_confirmed)
    peer.publish(key, *range(100))
    relay.kill()
    peer.publish(key, *range(100, 200))
    start_relay(int(url.rpartition(":")[2]))
    wait_for(stored(200), seconds=40)
    services.handle_due(20)
    assert handler.numbers() == list(range(200))


def test_a_stopped_gateway_finishes_its_work_and_closes_with_1001(peer, start_program):
    keys = [make_key() for _ in range(3)]
    subscribe(*(key.topic for key in keys))
    gateway = start_program("gateway", RELAY_URL=peer.url)
    wait_for(all_confirmed)
    peer.publish(keys[0], *range(500))
    assert gateway.terminate() == 0
    text = gateway.log.read_text()
    assert "gateway stopped" in text
    assert "Traceback" not in text


def test_losing_all_of_redis_loses_no_work(
    peer, start_gateway, start_program, redis_client, handler
):
    key = make_key()
    subscribe(key.topic)
    start_gateway(peer.url)
    wait_for(all_confirmed)
    peer.publish(key, 1)
    wait_for(stored(1))
    redis_client.flushall()
    peer.publish(key, 2)
    redis_client.flushall()
    wait_for(stored(2))
    redis_client.flushall()
    assert services.sweep().inbox
    assert redis_client.llen(QUEUE) >= 1
    services.handle_due(10)
    assert handler.numbers() == [1, 2]


def test_new_messages_start_a_worker(start_gateway, recording_relay, redis_client):
    start_gateway(recording_relay.url)
    wait_for(recording_relay.clients)
    key = make_key()
    recording_relay.deliver(key.topic, [envelope(key)], tag=TAG)
    wait_for(lambda: redis_client.llen(QUEUE) >= 1)
    task = json.loads(redis_client.lindex(QUEUE, 0))
    assert task["headers"]["task"] == "messaging.handle_inbox"
    assert received(key, envelope(key)).topic not in json.dumps(task)


def test_a_step_is_recorded_by_its_callback_when_the_relay_confirmed_the_topic(
    start_gateway, recording_relay
):
    key = make_key()
    run = key.topic
    outbox.subscribe(
        Party.WALLET,
        [key.topic],
        callback=RECORD_TOPIC_STEP,
        context=topic_step(run, Step.SUBSCRIBE_RESPONSE_TOPIC),
    )
    assert runlog.of_run(run) == []
    start_gateway(recording_relay.url)
    [step] = wait_for(lambda: runlog.of_run(run))
    assert (step.step, step.actor) == (7, "W1")
    assert step.wire == {"method": "irn_subscribe", "topic": key.topic}
    wait_for(all_confirmed)
    assert TopicSubscription.objects.get().callbacks == []


def test_a_database_that_drops_all_connections_costs_no_message(
    start_gateway, recording_relay
):
    start_gateway(recording_relay.url)
    wait_for(recording_relay.clients)
    key = make_key()
    subscribe(key.topic)
    wait_for(all_confirmed)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'notifyweb gateway'"
            " AND datname = current_database()"
        )
        assert cursor.fetchone()[0] >= 2
    outbox.publish_all(Party.WALLET, [Publication(key.topic, "AAAA", TAG, 300)])
    wait_for(lambda: states(OutboxMessage) == ["sent"])
    wait_for(recording_relay.clients)
    text = envelope(key)

    def is_stored():
        # As a mailbox would: again and again until it is acknowledged.
        recording_relay.deliver(key.topic, [text], tag=TAG)
        return recording_relay.acknowledged

    wait_for(is_stored)
    assert InboxMessage.objects.count() == 1


def test_wake_ups_arrive_again_after_redis_closed_the_connection(
    start_gateway, recording_relay, redis_client
):
    start_gateway(recording_relay.url)
    wait_for(recording_relay.clients)
    wait_for(lambda: redis_client.pubsub_numsub("wake:outbox.wallet")[0][1] == 1)
    redis_client.client_kill_filter(_type="pubsub")
    wait_for(lambda: redis_client.pubsub_numsub("wake:outbox.wallet")[0][1] == 1)
