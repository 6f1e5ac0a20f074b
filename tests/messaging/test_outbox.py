"""Rows for the gateway: messages to publish, topics to subscribe."""

from __future__ import annotations

import contextlib
import importlib

import pytest
import redis
from django.conf import settings
from django.db import connection, transaction

from common import clock, entropy
from messaging import outbox
from messaging.confirmations import Confirmed, call_all, on_confirmed
from messaging.models import OutboxMessage, Party, TopicSubscription
from runlog import services as runlog
from subscriptions.services import RECORD_TOPIC_STEP
from tests.messaging.conftest import digest, make_key, publication, publish
from walletconnect.crypto.keys import SymKey
from walletconnect.relay.messages import Publication

CALLBACK = "tests.messaging.test_outbox"


@on_confirmed(CALLBACK)
def ignore(confirmed):
    pass


pytestmark = pytest.mark.usefixtures("canary")

TOPIC = "ab" * 32
OTHER = "cd" * 32


class Undo(Exception):
    pass


def test_messages_are_stored_byte_for_byte_in_their_order():
    key = make_key()
    publications = [publication(key, n, prompt=n == 2, ttl=30 + n) for n in range(3)]
    rows = publish(Party.CAST, publications)
    stored = list(OutboxMessage.objects.order_by("id"))
    assert [row.pk for row in rows] == [row.pk for row in stored]
    for row, given in zip(stored, publications, strict=True):
        assert (row.party, row.topic, row.message) == ("cast", key.topic, given.message)
        assert (row.tag, row.ttl, row.prompt) == (given.tag, given.ttl, given.prompt)
        assert row.message_id == digest(given.message)
        assert row.state == "due"


def test_nothing_stays_of_a_transaction_that_is_undone():
    key = make_key()
    with contextlib.suppress(Undo), transaction.atomic():
        outbox.publish_all(Party.WALLET, [publication(key)])
        outbox.subscribe(Party.WALLET, [TOPIC])
        raise Undo
    assert not OutboxMessage.objects.exists()
    assert not TopicSubscription.objects.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"topic": "ab"},
        {"topic": TOPIC.upper()},
        {"message": "é"},
        {"message": "a\0"},
        {"message": "A" * (512 * 1024 + 1)},
        {"ttl": 0},
        {"ttl": 2_592_001},
    ],
)
def test_what_no_relay_would_take_fails_its_caller_and_stores_nothing(changes):
    good = Publication(TOPIC, "AAAA", 4000, 300)
    values = {"topic": TOPIC, "message": "AAAA", "tag": 4000, "ttl": 300} | changes
    with pytest.raises(ValueError, match=r"message|topic|relay"):
        outbox.publish_all(Party.WALLET, [good, Publication(**values)])
    assert not OutboxMessage.objects.exists()


def test_an_empty_message_is_legal():
    outbox.publish_all(Party.CAST, [Publication(TOPIC, "", 4050, 300)])
    assert OutboxMessage.objects.get().message == ""


@pytest.mark.django_db(transaction=True)
def test_a_transaction_wakes_the_gateway_once_and_only_after_commit(redis_client):
    key = make_key()
    with redis.Redis.from_url(settings.REDIS_URL).pubsub() as heard:
        heard.subscribe("wake:outbox.wallet", "wake:outbox.cast", "wake:topics.wallet")
        for _ in range(3):
            assert heard.get_message(timeout=5)["type"] == "subscribe"
        with contextlib.suppress(Undo), transaction.atomic():
            outbox.publish_all(Party.CAST, [publication(key)])
            raise Undo
        with transaction.atomic():
            for _ in range(5):
                outbox.publish_all(Party.WALLET, [publication(key), publication(key)])
            outbox.subscribe(Party.WALLET, [TOPIC])
            assert heard.get_message(timeout=0.05) is None
        channels = [heard.get_message(timeout=5)["channel"] for _ in range(2)]
        assert channels == [b"wake:outbox.wallet", b"wake:topics.wallet"]
        assert heard.get_message(timeout=0.05) is None


def test_wanting_a_topic_twice_is_wanting_it_once():
    outbox.subscribe(Party.WALLET, [TOPIC, OTHER, TOPIC])
    first = list(TopicSubscription.objects.order_by("topic").values())
    TopicSubscription.objects.update(confirmed_at=first[0]["changed_at"])
    outbox.subscribe(Party.WALLET, [TOPIC])
    assert [row.topic for row in TopicSubscription.objects.order_by("topic")] == [
        TOPIC,
        OTHER,
    ]
    assert not TopicSubscription.objects.filter(confirmed_at=None).exists()


def test_each_party_wants_its_own_topics():
    outbox.subscribe(Party.WALLET, [TOPIC])
    outbox.subscribe(Party.CAST, [TOPIC])
    outbox.unsubscribe(Party.WALLET, [TOPIC])
    assert TopicSubscription.objects.get(party="wallet").state == "unwanted"
    assert TopicSubscription.objects.get(party="cast").state == "wanted"


def test_a_topic_that_was_given_up_can_be_wanted_again():
    outbox.subscribe(Party.WALLET, [TOPIC])
    row = TopicSubscription.objects.get()
    TopicSubscription.objects.update(confirmed_at=row.changed_at)
    outbox.unsubscribe(Party.WALLET, [TOPIC, OTHER])
    row.refresh_from_db()
    assert (row.state, row.confirmed_at) == ("unwanted", None)
    TopicSubscription.objects.update(confirmed_at=row.changed_at)
    outbox.unsubscribe(Party.WALLET, [TOPIC])
    row.refresh_from_db()
    assert row.confirmed_at is not None
    outbox.subscribe(Party.WALLET, [TOPIC])
    row.refresh_from_db()
    assert (row.state, row.confirmed_at) == ("wanted", None)


def test_a_callback_is_stored_with_its_topic_once():
    context = {"run": SymKey(entropy.key_bytes()).topic}
    for _ in range(2):
        outbox.subscribe(Party.WALLET, [TOPIC], callback=CALLBACK, context=context)
    [stored] = TopicSubscription.objects.get().callbacks
    assert stored == {"callback": CALLBACK, "context": context}


def test_a_callback_on_a_confirmed_topic_has_the_topic_confirmed_again():
    outbox.subscribe(Party.WALLET, [TOPIC])
    row = TopicSubscription.objects.get()
    TopicSubscription.objects.update(confirmed_at=row.changed_at)
    context = {"device": "device-2"}
    outbox.subscribe(Party.WALLET, [TOPIC], callback=CALLBACK, context=context)
    row.refresh_from_db()
    assert row.confirmed_at is None
    assert row.callbacks[0]["context"] == context


def test_the_migration_turns_waiting_steps_into_callbacks():
    migration = importlib.import_module("messaging.migrations.0002_callbacks_of_topics")
    forward = migration.Migration.operations[0]
    outbox.subscribe(Party.WALLET, [TOPIC, OTHER])
    step = {"run": TOPIC, "step": 20, "actor": "Wx", "wire": {}, "accountId": 1}
    step["actorKey"] = "device-2"
    rows = TopicSubscription.objects
    rows.filter(topic=TOPIC).update(callbacks=[step])
    with connection.cursor() as cursor:
        cursor.execute(forward.sql)
    assert rows.get(topic=OTHER).callbacks == []
    [stored] = rows.get(topic=TOPIC).callbacks
    assert stored == {"callback": RECORD_TOPIC_STEP, "context": step}
    confirmed = Confirmed(TOPIC, stored["context"], clock.now())
    call_all([(stored["callback"], confirmed)])
    [record] = runlog.of_run(TOPIC)
    assert (record.step, record.actor, record.actor_key) == (20, "Wx", "device-2")
    with connection.cursor() as cursor:
        cursor.execute(forward.reverse_sql)
    assert rows.get(topic=TOPIC).callbacks == [step]


def test_an_unregistered_callback_is_rejected():
    with pytest.raises(ValueError, match=r"no callback unknown\.name"):
        outbox.subscribe(Party.WALLET, [TOPIC], callback="unknown.name")
    assert not TopicSubscription.objects.exists()


@pytest.mark.parametrize("topics", [TOPIC, ["short"], [TOPIC.upper()]])
def test_only_topics_are_wanted(topics):
    with pytest.raises(ValueError, match="topics"):
        outbox.subscribe(Party.WALLET, topics)
