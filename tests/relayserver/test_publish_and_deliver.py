"""What is published reaches everybody who listens, once, and never its publisher."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from common import clock
from tests.relayserver.wire import Refused, connected, key, topic
from walletconnect.relay.frames import subscription_id


async def test_a_published_message_reaches_a_subscriber_with_all_its_members(join):
    alice, bob = await join(), await join()
    on = topic()
    await bob.subscribe(on)
    before = clock.now_ms()

    assert await alice.publish(on, "AAA=", tag=5000) is True

    await bob.heard(1)
    [delivered] = bob.deliveries
    assert delivered.method == "irn_subscription"
    assert delivered.subscription == subscription_id(on, bob.did)
    assert set(delivered.frame["params"]["data"]) == {
        "topic",
        "message",
        "publishedAt",
        "tag",
    }
    assert (delivered.topic, delivered.message, delivered.tag) == (on, "AAA=", 5000)
    assert before <= delivered.published_at <= clock.now_ms()
    assert 10**15 <= delivered.id < 2**53


async def test_the_publisher_receives_no_echo_on_any_connection(join):
    alice, bob = await join(), await join()
    alice_elsewhere = await join(alice.owner)
    on = topic()
    for client in (alice, alice_elsewhere, bob):
        await client.subscribe(on)

    await alice.publish(on, "from alice")
    await bob.publish(on, "from bob")

    assert await bob.heard(1) == ["from alice"]
    assert await alice.heard(1) == ["from bob"]
    assert await alice_elsewhere.heard(1) == ["from bob"]


async def test_the_publisher_does_not_find_its_message_in_the_mailbox(join):
    alice, bob = await join(), await join()
    on = topic()
    await alice.publish(on, "from alice")
    await bob.publish(on, "from bob")

    await alice.subscribe(on)

    assert await alice.heard(1) == ["from bob"]
    await alice.settled(on)
    assert alice.texts == ["from bob"]


async def test_charlie_on_another_topic_receives_nothing(join):
    alice, charlie = await join(), await join()
    on, elsewhere = topic(), topic()
    await charlie.subscribe(elsewhere)

    await alice.publish(on, "not for charlie")
    await alice.publish(elsewhere, "for charlie")

    assert await charlie.heard(1) == ["for charlie"]


async def test_the_same_text_again_is_true_and_is_not_delivered_again(join):
    alice, bob, dave = await join(), await join(), await join()
    on = topic()
    await bob.subscribe(on)

    assert await alice.publish(on, "once") is True
    assert await alice.publish(on, "once") is True
    assert await dave.publish(on, "once") is True
    await alice.call(
        "irn_batchPublish",
        messages=[{"topic": on, "message": "once", "ttl": 300, "tag": 1}] * 3,
    )

    await bob.settled(on)
    assert bob.texts == ["once"]


async def test_the_same_text_is_a_new_message_when_its_time_is_over(join):
    alice, bob = await join(), await join()
    on = topic()
    await bob.subscribe(on)
    await alice.publish(on, "tick", ttl=1)
    await bob.heard(1)
    over = bob.deliveries[0].published_at + 1000

    while len(bob.deliveries) < 2:
        assert clock.now_ms() < over + 5000
        await alice.publish(on, "tick", ttl=1)
        await asyncio.sleep(0.05)

    # The time is taken before the tick in which the older one is found to be over.
    assert bob.deliveries[1].published_at >= over - 100


async def test_the_same_text_on_two_topics_is_two_messages(join):
    alice, bob = await join(), await join()
    one, other = topic(), topic()
    await bob.call("irn_batchSubscribe", topics=[one, other])

    await alice.publish(one, "text")
    await alice.publish(other, "text")

    await bob.heard(2)
    assert {each.topic for each in bob.deliveries} == {one, other}


async def test_an_empty_message_is_delivered(join):
    alice, bob = await join(), await join()
    on = topic()
    await bob.subscribe(on)

    assert await alice.publish(on, "", tag=4050) is True

    assert await bob.heard(1) == [""]


async def test_text_of_any_kind_arrives_as_it_was_sent(join):
    alice, bob = await join(), await join()
    on = topic()
    await bob.subscribe(on)
    text = 'quote " backslash \\ newline \n control \x01 ünïcödé \U0001f600 \u2028'

    await alice.publish(on, text)

    assert await bob.heard(1) == [text]


async def test_prompt_and_unknown_members_are_accepted_and_attestation_is_passed_on(
    join,
):
    alice, bob = await join(), await join()
    on = topic()
    await bob.subscribe(on)

    await alice.publish(
        on, "attested", prompt=True, attestation="a.b.c", correlationId=17, tvf={}
    )

    await bob.heard(1)
    assert bob.deliveries[0].frame["params"]["data"]["attestation"] == "a.b.c"


async def test_a_publication_without_a_tag_is_delivered_with_tag_zero(join):
    alice, bob = await join(), await join()
    on = topic()
    await bob.subscribe(on)

    await alice.call("irn_publish", topic=on, message="untagged", ttl=30)

    await bob.heard(1)
    assert bob.deliveries[0].tag == 0


async def test_a_batch_is_delivered_in_its_order(join):
    alice, bob = await join(), await join()
    on = topic()
    await bob.subscribe(on)
    texts = [f"message {n}" for n in range(500)]

    result = await alice.call(
        "irn_batchPublish",
        messages=[
            {"topic": on, "message": text, "ttl": 300, "tag": 4002} for text in texts
        ],
    )

    assert result is True
    assert await bob.heard(500) == texts


async def test_a_batch_with_one_bad_message_stores_nothing(join):
    alice, bob = await join(), await join()
    on = topic()
    await bob.subscribe(on)
    good = {"topic": on, "message": "good", "ttl": 300, "tag": 1}

    with pytest.raises(Refused) as refused:
        await alice.call("irn_batchPublish", messages=[good, {**good, "ttl": 0}])

    assert refused.value.code == -32000
    await bob.settled(on)
    assert bob.texts == []


async def test_a_batch_of_more_than_500_is_refused(join):
    alice = await join()
    on = topic()
    member = {"topic": on, "message": "x", "ttl": 300, "tag": 1}

    for method, params in (
        ("irn_batchPublish", {"messages": [member] * 501}),
        ("irn_batchSubscribe", {"topics": [topic() for _ in range(501)]}),
        ("irn_batchFetchMessages", {"topics": [topic() for _ in range(501)]}),
        ("irn_batchReceive", {"receipts": [{"topic": on, "messageId": on}] * 501}),
    ):
        with pytest.raises(Refused) as refused:
            await alice.call(method, **params)
        assert refused.value.code == -32600


@pytest.mark.parametrize("ttl", [1, 30, 300, 86_400, 2_592_000])
async def test_every_ttl_of_the_spec_is_accepted(join, ttl):
    alice = await join()

    assert await alice.publish(topic(), "text", ttl=ttl) is True


@pytest.mark.parametrize("ttl", [0, -1, 2_592_001])
async def test_a_ttl_out_of_bounds_is_refused(join, ttl):
    alice = await join()

    with pytest.raises(Refused, match="ttl") as refused:
        await alice.publish(topic(), "text", ttl=ttl)
    assert refused.value.code == -32000


@pytest.mark.parametrize(
    "change",
    [
        {"topic": "ab"},
        {"topic": "G" * 64},
        {"topic": 7},
        {"message": None},
        {"message": 7},
        {"message": "nul \0"},
        {"ttl": "300"},
        {"ttl": True},
        {"tag": "4002"},
        {"message": "x" * (512 * 1024 + 1)},
    ],
)
async def test_malformed_parameters_are_refused_and_the_connection_stays(join, change):
    alice = await join()
    params = {"topic": topic(), "message": "m", "ttl": 300, "tag": 1, **change}

    with pytest.raises(Refused) as refused:
        await alice.call("irn_publish", **params)

    assert refused.value.code == -32600
    assert await alice.publish(topic(), "still here") is True


async def test_a_message_of_512_kib_goes_through(join):
    alice, bob = await join(), await join()
    on = topic()
    await bob.subscribe(on)
    text = "x" * (512 * 1024)

    await alice.publish(on, text)

    assert await bob.heard(1) == [text]


async def test_a_frame_over_one_mebibyte_ends_the_connection(relay, join):
    alice = await join()

    await alice.send("x" * (1024 * 1024 + 1))

    assert (await alice.closed())[0] == 1009


@pytest.mark.parametrize("prefix", ["waku_", "iridium_"])
async def test_the_old_names_work_and_deliveries_come_under_them(join, prefix):
    alice, bob = await join(), await join()
    on = topic()
    await bob.call(f"{prefix}subscribe", topic=on)

    await alice.call(f"{prefix}publish", topic=on, message="old", ttl=300, tag=1)

    await bob.heard(1)
    assert bob.deliveries[0].method == f"{prefix}subscription"
    assert await bob.call(f"{prefix}unsubscribe", topic=on, id="x") is True


@pytest.mark.parametrize(
    "method",
    ["irn_watchRegister", "irn_nothing", "wc_nothing", "publish", "irn_", ""],
)
async def test_an_unknown_method_is_answered_with_an_error(join, method):
    alice = await join()

    with pytest.raises(Refused) as refused:
        await alice.call(method, registerAuth="x")

    assert refused.value.code == -32601


@pytest.mark.parametrize(
    "request_id",
    [1, 1693000000000123, 1693000000000123456, 2**63 - 1, "1693000000000123456", "x"],
)
async def test_an_answer_has_the_id_of_its_request_digit_by_digit(join, request_id):
    alice, bob = await join(), await join()

    await alice.ask(request_id, "irn_subscribe", {"topic": topic()})
    await bob.ask(request_id, "irn_unknown", {})

    for answer in (await alice.answered(request_id), await bob.answered(request_id)):
        assert answer["id"] == request_id
        assert type(answer["id"]) is type(request_id)
        assert answer["jsonrpc"] == "2.0"


async def test_frames_that_are_no_requests_leave_the_connection_open(join):
    alice = await join()

    for frame in (
        "",
        "no json",
        "[]",
        "7",
        "{}",
        "null",
        '{"id":1}',
        '{"id":1,"jsonrpc":"2.0"}',
        '{"id":1,"jsonrpc":"1.0","method":"irn_subscribe"}',
        '{"id":{},"jsonrpc":"2.0","method":"irn_subscribe"}',
        '{"id":1,"jsonrpc":"2.0","method":7}',
        '{"id":1,"jsonrpc":"2.0","method":"irn_subscribe","params":[]}',
        '{"id":99,"jsonrpc":"2.0","result":true}',
        '{"id":99,"jsonrpc":"2.0","error":{"code":1,"message":"no"}}',
        "[" * 5000,
    ):
        await alice.send(frame)

    assert await alice.publish(topic(), "still here") is True


async def test_binary_frames_are_read_as_text(join):
    alice = await join()
    request = {"id": 7, "jsonrpc": "2.0", "method": "irn_subscribe"}
    await alice.socket.send(orjson.dumps({**request, "params": {"topic": topic()}}))

    assert "result" in await alice.answered(7)


async def test_answers_come_in_the_order_of_the_requests(join):
    alice = await join()
    methods = [
        ("irn_publish", {"message": "m", "ttl": 300, "tag": 1}),
        ("irn_subscribe", {}),
        ("irn_fetchMessages", {}),
        ("irn_unsubscribe", {"id": "x"}),
    ]
    asked = []
    for number in range(40):
        method, params = methods[number % 4]
        asked.append(number)
        await alice.ask(number, method, {"topic": topic(), **params})

    await alice.answered(39)

    assert [each["id"] for each in alice.frames if "method" not in each] == asked


async def test_many_publishers_at_once_lose_nothing(relay, join):
    bob = await join()
    topics = [topic() for _ in range(20)]
    await bob.call("irn_batchSubscribe", topics=topics)

    async def publish_all(number: int) -> None:
        async with connected(relay.url, key()) as client:
            for count in range(20):
                await client.publish(topics[count], f"{number}/{count}")

    await asyncio.gather(*(publish_all(number) for number in range(20)))

    texts = await bob.heard(400)
    assert sorted(texts) == sorted(f"{n}/{c}" for n in range(20) for c in range(20))


async def test_a_head_that_was_read_before_a_tick_does_not_turn_the_log_back(
    relay, join, monkeypatch, caplog
):
    alice, bob = await join(), await join()
    on = topic()
    await bob.subscribe(on)
    await bob.settled(on)
    head_of_store, reads = relay.hub.store.head, []

    async def head_before_a_tick() -> int:
        head = await head_of_store()
        if not reads:
            await alice.publish(on, "meanwhile")
        reads.append(head)
        return head

    monkeypatch.setattr(relay.hub.store, "head", head_before_a_tick)
    relay.hub.log.compare_soon()
    assert await bob.heard(1) == ["meanwhile"]
    seen = relay.hub.log.seen
    relay.hub.log.compare_soon()
    async with asyncio.timeout(10):
        while len(reads) < 2:  # noqa: ASYNC110 - a list
            await asyncio.sleep(0.01)
    assert relay.hub.log.seen == seen > reads[0]
    assert "starts anew" not in caplog.text
    assert relay.hub.counts.catch_ups == 0
