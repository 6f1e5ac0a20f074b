"""Several gateways share the topics of a party; many lanes cost what few cost."""

from __future__ import annotations

import json
import time
from collections import defaultdict

import pytest
from django.db import connection

from common import clock
from messaging import outbox, services
from messaging.gateway.database import CONFIGURE
from messaging.gateway.due_rows import DUE
from messaging.models import (
    InboxMessage,
    OutboxMessage,
    Party,
    PartyClient,
    TopicSubscription,
)
from messaging.shards import ALL_SHARDS, SHARDS, ShardRange, shard_of
from tests.messaging.conftest import (
    TAG,
    envelope,
    make_key,
    published_numbers,
    states,
    wait_for,
)
from walletconnect.relay.messages import Publication

TAKE_OVER_S = 10


def publish(keys, *numbers, party=Party.WALLET) -> None:
    outbox.publish_all(
        party,
        [
            Publication(key.topic, envelope(key, number), TAG, 300)
            for number in numbers
            for key in keys
        ],
    )


def all_sent() -> bool:
    return set(states(OutboxMessage)) == {"sent"}


def all_confirmed() -> bool:
    return not TopicSubscription.objects.filter(confirmed_at=None).exists()


def lanes_held() -> dict[int, int]:
    """Lanes of the wallet side, by the process of PostgreSQL that holds their locks."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT objid::int, pid FROM pg_locks WHERE locktype = 'advisory'"
            " AND classid::int = 7331 AND objsubid = 2 AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return dict(cursor.fetchall())


def shared_by(gateways: int) -> bool:
    held = lanes_held()
    lanes = set(
        PartyClient.objects.filter(party="wallet").values_list("lane", flat=True)
    )
    return set(held) == lanes and len(set(held.values())) == gateways


# --- ranges -------------------------------------------------------------------------------


def test_halves_of_halves_cover_every_shard_once():
    ranges = [ALL_SHARDS]
    while len(ranges) < SHARDS:
        ranges = [half for each in ranges for half in each.halves()]
    assert ranges == [ShardRange(n, n) for n in range(SHARDS)]


@pytest.mark.parametrize("digits", ["000", "001", "07f", "080", "fff"])
def test_a_topic_lies_in_the_range_of_its_shard_only(digits):
    topic = digits + "5" * 61
    for each in (*ALL_SHARDS.halves(), ShardRange(0, 0), ShardRange(1, SHARDS - 1)):
        is_in_range = each.first_topic <= topic < each.end_topic
        assert is_in_range == (shard_of(topic) in each)


def test_the_outbox_stores_the_shard_of_the_topic(db):
    keys = [make_key() for _ in range(20)]
    publish(keys, 1)
    for row in OutboxMessage.objects.all():
        assert row.shard == shard_of(row.topic)


# --- what lanes read ----------------------------------------------------------------------


def plan_of(lanes: list[ShardRange], limit: int) -> dict:
    parameters = {
        "party": "wallet",
        "now": clock.now(),
        "limit": limit,
        "numbers": list(range(len(lanes))),
        "firsts": [each.first for each in lanes],
        "lasts": [each.last for each in lanes],
    }
    with connection.connection.cursor() as cursor:
        for statement in CONFIGURE:
            cursor.execute(statement.replace("SET ", "SET LOCAL ", 1))
        cursor.execute(
            "EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) " + DUE, parameters
        )
        [found] = cursor.fetchone()
    return (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]


def nodes(plan: dict):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def rows_read(plan: dict) -> float:
    """Rows that the scans of the outbox read, used or not."""
    return sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        * node["Actual Loops"]
        for node in nodes(plan)
        if node.get("Relation Name", "").startswith("messaging_outboxmessage")
    )


def test_many_lanes_read_no_more_rows_than_one(db):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO messaging_outboxmessage (party, topic, message_id, message, tag,"
            " ttl, prompt, state, attempts, next_attempt_at, reason, created_at)"
            " SELECT party, encode(sha256(n::text::bytea), 'hex'), n::text, 'A', 1, 300,"
            " false, 'due', 0, now(), '', now()"
            " FROM generate_series(1, 8000) AS n, unnest(ARRAY['wallet', 'cast']) AS party"
        )
        cursor.execute("ANALYZE messaging_outboxmessage")
    many = [ShardRange(first, first + 63) for first in range(0, SHARDS, 64)]
    one = plan_of([ALL_SHARDS], 640)
    assert rows_read(one) == 640
    shared = plan_of(many, 10)
    assert rows_read(shared) == 640
    # Beyond the rows, each lane costs one descent of the index.
    assert shared["Shared Hit Blocks"] < one["Shared Hit Blocks"] + 64 * 10
    # Lanes without due rows read nothing.
    OutboxMessage.objects.filter(party="wallet", shard__gte=64).update(state="sent")
    assert rows_read(plan_of(many[1:], 10)) == 0


# --- two gateways -------------------------------------------------------------------------


def test_two_gateways_share_the_topics_and_keep_the_order(
    start_gateway, recording_relay
):
    keys = [make_key() for _ in range(40)]
    outbox.subscribe(Party.WALLET, [key.topic for key in keys])
    start_gateway(recording_relay.url)
    wait_for(all_confirmed)
    publish(keys, *range(5))
    second = start_gateway(recording_relay.url)
    publish(keys, *range(5, 10))
    wait_for(lambda: shared_by(2))
    publish(keys, *range(10, 15))
    wait_for(all_sent)
    # Both are at work: each publishes the topics of its own lanes.
    by_client = [recording_relay.published_by.get(c) for c in recording_relay.clients()]
    assert len(by_client) == 2
    assert all(by_client)
    second.stop()
    wait_for(lambda: shared_by(1), seconds=TAKE_OVER_S)
    publish(keys, *range(15, 20))
    wait_for(all_sent)
    numbers = defaultdict(list)
    for topic, number in published_numbers(recording_relay, *keys):
        numbers[topic].append(number)
    assert numbers == {key.topic: list(range(20)) for key in keys}


def test_a_gateway_that_is_killed_loses_and_doubles_nothing(
    local_relay, start_program, start_gateway, handler
):
    """One of two gateways of the wallet side is killed while messages flow both ways."""
    start_gateway(local_relay, (Party.CAST,))
    keys = [make_key() for _ in range(30)]
    outbox.subscribe(Party.WALLET, [key.topic for key in keys])
    programs = [
        start_program("gateway", "--party", "wallet", RELAY_URL=local_relay)
        for _ in range(2)
    ]
    wait_for(lambda: shared_by(2))
    wait_for(all_confirmed)
    for number in range(20):
        publish(keys, number, party=Party.CAST)
        publish(keys, 1_000 + number)
        if number == 10:
            programs[0].kill()
            killed_at = time.monotonic()
    wait_for(lambda: shared_by(1), seconds=TAKE_OVER_S)
    wait_for(all_sent, seconds=TAKE_OVER_S)
    assert time.monotonic() - killed_at < TAKE_OVER_S
    wait_for(lambda: InboxMessage.objects.count() == 20 * 30)
    while services.handle_due(5):
        pass
    by_topic = defaultdict(list)
    for message in handler.seen:
        by_topic[message.topic].append(message.payload.id)
    assert by_topic == {key.topic: list(range(20)) for key in keys}


def test_a_gateway_that_is_frozen_loses_its_lanes(recording_relay, start_program):
    programs = [
        start_program("gateway", "--party", "wallet", RELAY_URL=recording_relay.url)
        for _ in range(2)
    ]
    wait_for(lambda: shared_by(2))
    programs[0].freeze()
    try:
        wait_for(lambda: shared_by(1), seconds=2 * TAKE_OVER_S)
        keys = [make_key() for _ in range(10)]
        publish(keys, 1)
        wait_for(all_sent)
    finally:
        programs[0].thaw()
    # It notices that it lost its locks, and takes its share again.
    wait_for(lambda: shared_by(2))
