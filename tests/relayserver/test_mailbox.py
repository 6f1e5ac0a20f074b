"""What the relay keeps: for whom, how often, in which order, and for how long."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from common import clock
from tests.relayserver.conftest import running_node
from tests.relayserver.wire import Refused, connected, key, topic


async def publish_many(client, on, texts, **more):
    for start in range(0, len(texts), 100):
        members = [
            {"topic": on, "message": text, "ttl": 300, "tag": 1, **more}
            for text in texts[start : start + 100]
        ]
        await client.call("irn_batchPublish", messages=members)


async def publish_patiently(client, on):
    for n in range(100):
        await client.publish(on, f"late {n}")
        await asyncio.sleep(0.05)


async def test_a_message_waits_for_a_later_subscriber(join):
    alice, bob = await join(), await join()
    on = topic()
    await alice.publish(on, "kept", tag=4001)

    await bob.subscribe(on)

    await bob.heard(1)
    assert (bob.deliveries[0].message, bob.deliveries[0].tag) == ("kept", 4001)


async def test_every_client_gets_its_own_copy(join):
    alice, bob = await join(), await join()
    on = topic()
    await alice.publish(on, "kept")
    await bob.subscribe(on)
    await bob.heard(1)

    dave = await join()
    await dave.subscribe(on)

    assert await dave.heard(1) == ["kept"]


async def test_an_acknowledged_message_does_not_come_again(join):
    alice, bob = await join(), await join()
    on = topic()
    await alice.publish(on, "acknowledged")
    await bob.subscribe(on)
    await bob.heard(1)
    await bob.close()

    again = await join(bob.owner)
    await again.subscribe(on)

    await again.settled(on)
    assert again.texts == []


@pytest.mark.parametrize(
    "written",
    [
        '{"id":%d,"jsonrpc":"2.0","result":true}',
        '{ "id": %d, "jsonrpc": "2.0", "result": true }',
        '{"jsonrpc":"2.0","id":%d,"result":true}',
        '{"id":"%d","jsonrpc":"2.0","result":true}',
        '{"id":"%dn","jsonrpc":"2.0","result":true}',
        '{"id":%d,"jsonrpc":"2.0","result":{}}',
    ],
)
async def test_an_acknowledgement_counts_however_it_is_written(join, written):
    alice, bob = await join(), await join(acknowledges=False)
    on = topic()
    await bob.subscribe(on)
    await alice.publish(on, "acknowledged")
    await bob.heard(1)
    await bob.send(written % bob.deliveries[0].id)
    await bob.close()

    again = await join(bob.owner)
    await again.subscribe(on)
    await again.settled(on)
    assert again.texts == []


async def test_a_number_that_json_does_not_know_acknowledges_nothing(join):
    alice, bob = await join(), await join(acknowledges=False)
    on = topic()
    await bob.subscribe(on)
    await alice.publish(on, "kept")
    await bob.heard(1)
    delivered = bob.deliveries[0].id
    await bob.send(f'{{"id":0{delivered},"jsonrpc":"2.0","result":true}}')
    await bob.close()

    again = await join(bob.owner)
    await again.subscribe(on)
    assert await again.heard(1) == ["kept"]


async def test_an_unacknowledged_message_comes_again_on_the_next_connection(join):
    alice, bob = await join(), await join(acknowledges=False)
    on = topic()
    await alice.publish(on, "first")
    await bob.subscribe(on)
    await bob.heard(1)
    await alice.publish(on, "second")
    await bob.heard(2)
    bob.drop()

    again = await join(bob.owner)
    await again.subscribe(on)

    assert await again.heard(2) == ["first", "second"]
    await again.settled(on)
    assert again.texts == ["first", "second"]


async def test_of_several_messages_only_the_unacknowledged_come_again(join):
    alice, bob = await join(), await join(acknowledges=False)
    on = topic()
    texts = [f"{n}" for n in range(9)]
    await bob.subscribe(on)
    await publish_many(alice, on, texts)
    await bob.heard(9)
    for n in (0, 1, 4, 8, 5):
        await bob.acknowledge(bob.deliveries[n])
    await bob.close()

    again = await join(bob.owner)
    await again.subscribe(on)
    await again.heard(4)
    await again.settled(on)
    assert again.texts == ["2", "3", "6", "7"]
    await again.close()

    once_more = await join(bob.owner)
    await once_more.subscribe(on)
    await once_more.settled(on)
    assert once_more.texts == []


async def test_late_acknowledgements_after_unsubscribing_count(join):
    alice, bob = await join(), await join(acknowledges=False)
    on = topic()
    await bob.subscribe(on)
    await alice.publish(on, "text")
    await bob.heard(1)
    await bob.call("irn_unsubscribe", topic=on, id="x")
    await bob.acknowledge(bob.deliveries[0])

    await bob.subscribe(on)

    await bob.settled(on)
    assert bob.texts == ["text"]


@pytest.mark.parametrize("form", ["{}", '"{}"', '"{}n"'])
async def test_an_acknowledgement_counts_in_each_form_that_clients_send(join, form):
    alice, bob = await join(), await join(acknowledges=False)
    on = topic()
    await bob.subscribe(on)
    await alice.publish(on, "text")
    await bob.heard(1)
    delivery = form.format(bob.deliveries[0].id)
    await bob.send(f'{{"id":{delivery},"jsonrpc":"2.0","result":true}}')
    await bob.close()

    again = await join(bob.owner)
    await again.subscribe(on)
    await again.settled(on)
    assert again.texts == []


async def test_an_error_as_answer_acknowledges_nothing(join):
    alice, bob = await join(), await join(acknowledges=False)
    on = topic()
    await bob.subscribe(on)
    await alice.publish(on, "text")
    await bob.heard(1)
    await bob.send(
        f'{{"id":{bob.deliveries[0].id},"jsonrpc":"2.0",'
        '"error":{"code":-32000,"message":"no"}}'
    )
    await bob.close()

    again = await join(bob.owner)
    await again.subscribe(on)
    assert await again.heard(1) == ["text"]


async def test_a_client_cannot_acknowledge_for_another(join):
    alice, bob, charlie = await join(), await join(acknowledges=False), await join()
    on = topic()
    await bob.subscribe(on)
    await alice.publish(on, "text")
    await bob.heard(1)
    await charlie.acknowledge(bob.deliveries[0])
    await bob.close()

    again = await join(bob.owner)
    await again.subscribe(on)
    assert await again.heard(1) == ["text"]


async def test_a_big_mailbox_arrives_whole_in_publish_order(join):
    alice, bob = await join(), await join()
    on, other = topic(), topic()
    texts = [f"{n:05d}" + "x" * 995 for n in range(1300)]
    few = [f"few {n}" for n in range(30)]
    async with (
        running_node(relay_queue_messages=10_000) as roomy,
        connected(roomy.url, alice.owner) as publisher,
    ):
        await publish_many(publisher, on, texts)
        await publish_many(publisher, other, few)

    await bob.call("irn_batchSubscribe", topics=[on, other])

    await bob.heard(1330)
    on_topic = [each.message for each in bob.deliveries if each.topic == on]
    elsewhere = [each.message for each in bob.deliveries if each.topic == other]
    assert on_topic == texts
    assert elsewhere == few


async def test_what_is_past_its_ttl_is_not_delivered(join):
    alice, bob = await join(), await join()
    on = topic()
    await alice.publish(on, "short", ttl=1)
    await alice.publish(on, "long", ttl=60)
    published_at = clock.now_ms()
    await asyncio.sleep((published_at + 1001 - clock.now_ms()) / 1000)

    await bob.subscribe(on)

    await bob.settled(on)
    assert bob.texts == ["long"]


async def test_fetch_returns_what_is_kept_and_acknowledges_it(join):
    alice, bob = await join(), await join()
    on = topic()
    await publish_many(alice, on, ["one", "two"], tag=4002)

    first = await bob.call("irn_fetchMessages", topic=on)
    second = await bob.call("irn_fetchMessages", topic=on)

    assert [each["message"] for each in first["messages"]] == ["one", "two"]
    assert first["hasMore"] is False
    assert set(first["messages"][0]) == {"topic", "message", "publishedAt", "tag"}
    assert first["messages"][0]["tag"] == 4002
    assert second == {"messages": [], "hasMore": False}
    await bob.subscribe(on)
    await bob.settled(on)
    assert bob.texts == []


async def test_fetch_does_not_return_ones_own(join):
    alice, bob = await join(), await join()
    on = topic()
    await alice.publish(on, "mine")
    await bob.publish(on, "theirs")

    page = await alice.call("irn_fetchMessages", topic=on)

    assert [each["message"] for each in page["messages"]] == ["theirs"]


async def test_fetch_comes_in_pages_below_a_mebibyte(join):
    alice, bob = await join(), await join()
    topics = [topic() for _ in range(3)]
    expected = {}
    for on in topics:
        expected[on] = [f"{n:03d}" + "x" * 9_000 for n in range(60)]
        await publish_many(alice, on, expected[on])

    found = {on: [] for on in topics}
    pages = 0
    while True:
        page = await bob.call("irn_batchFetchMessages", topics=[*topics, *topics])
        pages += 1
        assert sum(len(each["message"]) for each in page["messages"]) < 512 * 1024
        for each in page["messages"]:
            found[each["topic"]].append(each["message"])
        if not page["hasMore"]:
            break

    assert found == expected
    assert pages > 3


async def test_a_message_bigger_than_a_page_is_fetched(join):
    alice, bob = await join(), await join()
    on = topic()
    texts = [str(n) + "x" * 500_000 for n in range(3)]
    for text in texts:
        await alice.publish(on, text)

    found = []
    more = True
    while more:
        page = await bob.call("irn_fetchMessages", topic=on)
        found += [each["message"] for each in page["messages"]]
        more = page["hasMore"]

    assert found == texts


async def test_fetches_sent_at_once_return_every_message_once(join):
    alice, bob = await join(), await join()
    on = topic()
    texts = [f"{n:03d}" + "x" * 9_000 for n in range(120)]
    await publish_many(alice, on, texts)

    for number in range(6):
        await bob.ask(number, "irn_fetchMessages", {"topic": on})
    pages = [(await bob.answered(number))["result"] for number in range(6)]

    assert [each["message"] for page in pages for each in page["messages"]] == texts


async def test_batch_receive_acknowledges_by_message_id(join):
    alice, bob = await join(), await join()
    on = topic()
    await publish_many(alice, on, ["one", "two", "three"])
    two = hashlib.sha256(b"two").hexdigest()

    result = await bob.call(
        "irn_batchReceive",
        receipts=[
            {"topic": on, "messageId": two},
            {"topic": on, "messageId": "00" * 32},
        ],
    )

    assert result is True
    await bob.subscribe(on)
    await bob.settled(on)
    assert bob.texts == ["one", "three"]


async def test_batch_receive_acknowledges_what_was_delivered(join):
    alice, bob = await join(), await join(acknowledges=False)
    on = topic()
    await bob.subscribe(on)
    await publish_many(alice, on, ["one", "two"])
    await bob.heard(2)
    receipts = [
        {"topic": on, "messageId": hashlib.sha256(text.encode()).hexdigest()}
        for text in ("one", "two")
    ]
    await bob.call("irn_batchReceive", receipts=receipts)
    await bob.close()

    again = await join(bob.owner)
    await again.subscribe(on)
    await again.settled(on)
    assert again.texts == []


async def test_a_topic_without_readers_fills_and_reading_empties_it(db):
    async with running_node(relay_queue_messages=20) as node:
        on = topic()
        async with connected(node.url, key()) as alice:
            await publish_many(alice, on, [f"{n}" for n in range(20)])
            with pytest.raises(Refused, match="Mailbox limit exceeded") as refused:
                await alice.publish(on, "one too many")
            assert refused.value.code == -32000
            await alice.publish(topic(), "elsewhere there is room")

            async with connected(node.url, key()) as bob:
                await bob.subscribe(on)
                await bob.heard(20)
            async with connected(node.url, bob.owner) as bob:
                await bob.call("irn_fetchMessages", topic=on)

            await alice.publish(on, "room again")


async def test_the_bytes_of_a_topic_are_limited_too(db):
    async with running_node(relay_queue_bytes=10_000) as node:
        on = topic()
        async with connected(node.url, key()) as alice:
            for n in range(10):
                await alice.publish(on, f"{n}" + "x" * 999)
            with pytest.raises(Refused, match="Mailbox limit exceeded"):
                await alice.publish(on, "y")


async def test_a_topic_with_a_reader_never_fills(db):
    async with running_node(relay_queue_messages=20) as node:
        on = topic()
        async with connected(node.url, key()) as bob:
            await bob.subscribe(on)
            async with connected(node.url, key()) as alice:
                for n in range(100):
                    await alice.publish(on, f"{n}")
                    await bob.heard(n + 1)


async def test_a_node_that_just_started_refuses_full_topics(db):
    on = topic()
    async with (
        running_node(relay_queue_messages=20) as node,
        connected(node.url, key()) as alice,
    ):
        await publish_many(alice, on, [f"{n}" for n in range(20)])
    async with (
        running_node(relay_queue_messages=20) as node,
        connected(node.url, key()) as alice,
    ):
        # It learns how full a topic is when it is first published to.
        await alice.publish(on, "one more")
        with pytest.raises(Refused, match="Mailbox limit exceeded"):
            await publish_patiently(alice, on)
