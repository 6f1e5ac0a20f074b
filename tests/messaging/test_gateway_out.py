"""A message's way out: published as stored, in order per topic, until acknowledged."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection

from common import clock
from messaging import outbox, services
from messaging.gateway.due_rows import Row
from messaging.gateway.publisher import CHUNK_CHARACTERS, CHUNK_MESSAGES, plan
from messaging.models import OutboxMessage, Party, PartyClient
from tests.messaging.conftest import (
    free_port,
    make_key,
    publication,
    publish,
    published_numbers,
    states,
    wait_for,
)
from tests.messaging.recording_relay import RecordingRelay
from walletconnect.relay.auth import verify_client_auth
from walletconnect.relay.messages import Publication

TOPIC = "ab" * 32


def all_sent() -> bool:
    return set(states(OutboxMessage)) == {"sent"}


def refuse(code: int, text: str, *, when=lambda params: True):
    """An answer to publishing calls, by what they publish."""

    def on_call(method, params):
        if method not in ("publish", "batchPublish"):
            return None
        messages = params.get("messages", [params])
        hit = any(when(message) for message in messages)
        return {"code": code, "message": text} if hit else None

    return on_call


def test_what_is_in_the_outbox_is_published_as_stored(start_gateway, recording_relay):
    start_gateway(recording_relay.url)
    key = make_key()
    wanted = publication(key, prompt=True, ttl=77)
    outbox.publish_all(Party.WALLET, [wanted])
    wait_for(all_sent)
    assert recording_relay.published == [
        {
            "topic": key.topic,
            "message": wanted.message,
            "ttl": 77,
            "prompt": True,
            "tag": wanted.tag,
        }
    ]
    row = OutboxMessage.objects.get()
    assert row.sent_at is not None
    assert row.attempts == 0


def test_many_messages_go_in_batches_and_in_order_per_topic(
    start_gateway, recording_relay
):
    keys = [make_key() for _ in range(7)]
    outbox.publish_all(
        Party.WALLET, [publication(keys[n % 7], n) for n in range(1_000)]
    )
    start_gateway(recording_relay.url)
    wait_for(all_sent)
    assert recording_relay.methods().count("irn_batchPublish") <= 8
    assert "irn_publish" not in recording_relay.methods()
    found = published_numbers(recording_relay, *keys)
    assert len(found) == 1_000
    for key in keys:
        numbers = [number for topic, number in found if topic == key.topic]
        assert numbers == sorted(numbers)


def test_a_relay_without_batches_gets_single_publishes(start_gateway, recording_relay):
    recording_relay.unknown_methods = {"batchPublish", "batchSubscribe"}
    keys = [make_key() for _ in range(3)]
    outbox.publish_all(Party.WALLET, [publication(keys[n % 3], n) for n in range(60)])
    outbox.subscribe(Party.WALLET, [key.topic for key in keys])
    start_gateway(recording_relay.url)
    wait_for(all_sent)
    found = published_numbers(recording_relay, *keys)
    assert len(found) == 60
    for key in keys:
        numbers = [number for topic, number in found if topic == key.topic]
        assert numbers == sorted(numbers)
    wait_for(lambda: set(recording_relay.subscribed) == {key.topic for key in keys})
    # It learns once per connection.
    assert recording_relay.methods().count("irn_batchPublish") == 1


def test_a_message_that_is_not_taken_now_holds_back_its_own_topic_only(
    start_gateway, recording_relay
):
    stuck, free = make_key(), make_key()
    recording_relay.on_call = refuse(
        -32000,
        "Mailbox limit exceeded",
        when=lambda message: message["topic"] == stuck.topic,
    )
    outbox.publish_all(
        Party.WALLET,
        [publication(key, n) for n in range(1, 4) for key in (stuck, free)],
    )
    start_gateway(recording_relay.url)
    free_rows = OutboxMessage.objects.filter(topic=free.topic)
    wait_for(lambda: free_rows.filter(state="sent").count() == 3)
    first, second, _ = OutboxMessage.objects.filter(topic=stuck.topic).order_by("id")
    wait_for(lambda: OutboxMessage.objects.get(pk=first.pk).attempts >= 1)
    assert OutboxMessage.objects.get(pk=second.pk).attempts == 0
    assert "Mailbox limit" in OutboxMessage.objects.get(pk=first.pk).reason
    recording_relay.on_call = lambda method, params: None
    wait_for(all_sent)
    numbers = published_numbers(recording_relay, stuck, free)
    assert [n for topic, n in numbers if topic == stuck.topic] == [1, 2, 3]


@pytest.mark.parametrize("code", [3001, -32603])
def test_a_busy_relay_is_asked_again_later_and_order_holds(
    start_gateway, recording_relay, code
):
    key = make_key()
    calls = []

    def busy_at_first(method, params):
        if method == "batchPublish":
            calls.append(method)
            if len(calls) == 1:
                return {"code": code, "message": "not now"}
        return None

    recording_relay.on_call = busy_at_first
    outbox.publish_all(Party.WALLET, [publication(key, n) for n in range(5)])
    start_gateway(recording_relay.url)
    wait_for(all_sent)
    assert published_numbers(recording_relay, key) == [(key.topic, n) for n in range(5)]
    assert "irn_publish" not in recording_relay.methods()


@pytest.mark.parametrize(
    ("code", "text"),
    [(-32600, "message is too long"), (-32000, "requested ttl is above 300 seconds")],
)
def test_what_is_never_taken_fails_at_once_with_its_reason(
    start_gateway, recording_relay, code, text
):
    key = make_key()
    rows = publish(Party.WALLET, [publication(key, n) for n in range(3)])
    bad = rows[1].message
    recording_relay.on_call = refuse(
        code, text, when=lambda message: message["message"] == bad
    )
    start_gateway(recording_relay.url)
    wait_for(lambda: states(OutboxMessage) == ["sent", "failed", "sent"])
    assert text in OutboxMessage.objects.get(pk=rows[1].pk).reason


def test_a_transient_error_is_final_only_after_the_ttl(start_gateway, recording_relay):
    key = make_key()
    young, old = publish(
        Party.WALLET, [publication(key, 1), publication(make_key(), 2)]
    )
    OutboxMessage.objects.filter(pk=old.pk).update(
        created_at=clock.now() - timedelta(seconds=301)
    )
    recording_relay.on_call = refuse(-32000, "throttled: mailbox limit exceeded")
    start_gateway(recording_relay.url)
    wait_for(lambda: OutboxMessage.objects.get(pk=old.pk).state == "failed")
    wait_for(lambda: OutboxMessage.objects.get(pk=young.pk).attempts > 0)
    assert OutboxMessage.objects.get(pk=young.pk).state == "due"


def test_a_line_cut_after_publishing_repeats_the_same_bytes(
    start_gateway, recording_relay
):
    key = make_key()
    cuts = []

    def cut_once(method, params):
        if method == "publish" and not cuts:
            cuts.append(recording_relay._publish(params))
            return "cut"
        return None

    recording_relay.on_call = cut_once
    [row] = publish(Party.WALLET, [publication(key)])
    start_gateway(recording_relay.url)
    wait_for(all_sent)
    sent = [
        frame["params"]["message"]
        for frame in recording_relay.frames
        if frame["method"] == "irn_publish"
    ]
    assert sent == [row.message, row.message]
    assert len(recording_relay.published) == 1


def test_the_outbox_waits_for_a_relay_that_is_away(start_gateway):
    port = free_port()
    gateway = start_gateway(f"ws://127.0.0.1:{port}")
    outbox.publish_all(Party.WALLET, [publication(make_key())])
    wait_for(lambda: PartyClient.objects.filter(last_seen_at__isnull=False).exists())
    assert states(OutboxMessage) == ["due"]
    with RecordingRelay(port) as relay:
        wait_for(all_sent)
        assert len(relay.published) == 1
        gateway.stop()


def test_every_connect_proves_itself_with_a_fresh_token(start_gateway, recording_relay):
    start_gateway(recording_relay.url, (Party.WALLET, Party.CAST))
    wait_for(lambda: len(recording_relay.clients()) == 2)
    recording_relay.cut()
    wait_for(lambda: len(recording_relay.clients()) == 2)
    assert len(set(recording_relay.tokens)) == 4
    ids = {
        verify_client_auth(token, now=clock.now_s(), audiences=[recording_relay.url])
        for token in recording_relay.tokens
    }
    known = PartyClient.objects.values_list("did", flat=True)
    assert ids == set(known)
    assert len(ids) == 2


def test_a_relay_that_refuses_us_is_asked_again_but_not_at_once(
    start_gateway, recording_relay, monkeypatch
):
    recording_relay.close_at_connect = 3000
    pauses = []
    from messaging.gateway import lane

    async def sleep(seconds):
        pauses.append(seconds)
        await asyncio.sleep(min(seconds, 0.05))

    # The lane's own pauses only: all else in this process sleeps as it should.
    impatient = SimpleNamespace(**{**vars(asyncio), "sleep": sleep})
    monkeypatch.setattr(lane, "asyncio", impatient)
    monkeypatch.setattr(lane.entropy, "jitter", lambda seconds, share=0.2: seconds)
    start_gateway(recording_relay.url)
    wait_for(lambda: recording_relay.connects >= 3)
    recording_relay.close_at_connect = None
    wait_for(lambda: len(recording_relay.clients()) == 1)
    assert {5.0, 10.0} <= set(pauses)


def test_the_sweep_wakes_a_gateway_that_missed_its_wake_up(
    start_gateway, recording_relay, redis_client
):
    key = make_key()
    outbox.publish_all(Party.WALLET, [publication(key)])
    outbox.subscribe(Party.CAST, [TOPIC])
    redis_client.flushall()
    found = services.sweep()
    assert found.outbox == (Party.WALLET,)
    assert found.topics == (Party.CAST,)


def test_without_any_wake_up_the_scan_finds_what_is_due(start_gateway, recording_relay):
    start_gateway(recording_relay.url)
    wait_for(recording_relay.clients)
    time.sleep(0.2)  # the first scan is over; nothing will wake the next
    key = make_key()
    row = publication(key)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO messaging_outboxmessage (party, topic, message_id, message, tag,"
            " ttl, prompt, state, attempts, next_attempt_at, reason, created_at)"
            " VALUES ('wallet', %s, 'x', %s, 1, 300, false, 'due', 0, now(), '', now())",
            [key.topic, row.message],
        )
    wait_for(all_sent, seconds=5)


def test_a_gateway_writes_its_heartbeat(start_gateway, recording_relay):
    start_gateway(recording_relay.url)
    wait_for(
        lambda: PartyClient.objects.filter(
            last_seen_at__isnull=False, connected_since__isnull=False
        ).exists(),
        seconds=15,
    )


# --- how a round is cut into requests -----------------------------------------------------


def row(pk: int, topic: str, size: int = 10) -> Row:
    return Row(
        pk, topic, "A" * size, 1, 300, prompt=False, attempts=0, created_at=clock.now()
    )


def test_a_topic_is_in_one_request_and_the_rest_of_it_waits():
    rows = [row(n, "t") for n in range(CHUNK_MESSAGES + 50)]
    rows += [row(1_000 + n, f"u{n}") for n in range(10)]
    chunks = plan(rows)
    assert [each.pk for each in chunks[0]] == list(range(CHUNK_MESSAGES))
    assert [each.topic for each in chunks[1]] == [f"u{n}" for n in range(10)]


def test_requests_stay_below_a_size():
    half = CHUNK_CHARACTERS // 2 + 1
    chunks = plan([row(n, f"t{n}", half) for n in range(3)] + [row(3, "t0", half)])
    assert [[each.pk for each in chunk] for chunk in chunks] == [[0], [1], [2]]


def test_a_message_beyond_the_size_of_a_request_goes_alone():
    chunks = plan([row(1, "a"), row(2, "b", 2 * CHUNK_CHARACTERS), row(3, "c")])
    assert [2] in [[each.pk for each in chunk] for chunk in chunks]


def test_publication_rows_of_every_size_are_planned_once():
    chunks = plan([row(n, f"t{n % 5}", 1 + n % 300) for n in range(500)])
    pks = [each.pk for chunk in chunks for each in chunk]
    assert len(pks) == len(set(pks))


def test_an_empty_publication_is_published_too(start_gateway, recording_relay):
    outbox.publish_all(Party.WALLET, [Publication(TOPIC, "", 4050, 300)])
    start_gateway(recording_relay.url)
    wait_for(all_sent)
    assert recording_relay.published[0]["message"] == ""


def test_what_a_relay_took_before_it_cut_the_line_is_not_sent_again(
    start_gateway, recording_relay
):
    """A relay that knows no batches and throttles: each connection gets a bit further."""
    recording_relay.unknown_methods = {"batchPublish"}
    calls = []

    def throttle(method, params):
        if method == "publish":
            calls.append(params["message"])
            if len(calls) % 40 == 0:
                return "cut"
        return None

    recording_relay.on_call = throttle
    keys = [make_key() for _ in range(20)]
    outbox.publish_all(Party.WALLET, [publication(keys[n % 20], n) for n in range(100)])
    start_gateway(recording_relay.url)
    wait_for(all_sent)
    assert len(recording_relay.published) == 100
    assert len(calls) < 200


def test_a_relay_that_no_longer_answers_is_left_and_connected_again(
    start_gateway, recording_relay, monkeypatch
):
    from messaging.gateway import connection as gateway_connection

    monkeypatch.setattr(gateway_connection, "ANSWER_TIMEOUT_S", 0.5)
    recording_relay.on_call = lambda method, params: (
        "silence" if recording_relay.connects == 1 else None
    )
    outbox.publish_all(Party.WALLET, [publication(make_key())])
    start_gateway(recording_relay.url)
    wait_for(all_sent)
    assert recording_relay.connects >= 2
    assert len(recording_relay.published) == 1
