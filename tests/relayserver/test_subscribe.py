"""Subscribing: the ids, the pause, the order, and no message twice on a connection."""

from __future__ import annotations

import asyncio

import pytest

from common import clock
from tests.relayserver.conftest import running_node
from tests.relayserver.wire import Refused, connected, key, topic
from walletconnect.relay.frames import subscription_id


async def test_the_subscription_id_is_the_hash_of_topic_and_client_id(join):
    alice = await join()
    on = topic()

    assert await alice.subscribe(on) == subscription_id(on, alice.did)
    assert await alice.call("irn_subscribeBlocking", topic=on) == subscription_id(
        on, alice.did
    )


async def test_a_batch_answers_with_ids_in_the_order_of_its_topics(join):
    alice = await join()
    topics = [topic() for _ in range(500)]

    ids = await alice.call("irn_batchSubscribe", topics=topics)

    assert ids == [subscription_id(each, alice.did) for each in topics]


async def test_the_blocking_batch_answers_as_rust_clients_read_it(join):
    alice = await join()
    topics = [topic(), topic()]

    results = await alice.call("irn_batchSubscribeBlocking", topics=topics)

    assert results == [{"id": subscription_id(each, alice.did)} for each in topics]


@pytest.mark.parametrize("method", ["irn_subscribe", "irn_batchSubscribe"])
async def test_the_first_kept_message_comes_some_time_after_the_answer(join, method):
    alice, bob = await join(), await join()
    on = topic()
    await alice.publish(on, "kept")

    params = {"topic": on} if method == "irn_subscribe" else {"topics": [on]}
    await bob.call(method, **params)
    answered = clock.monotonic()
    await bob.heard(1)

    assert 0.05 <= bob.deliveries[0].at - answered < 2


async def test_live_messages_of_the_pause_come_behind_the_mailbox(join):
    alice, bob = await join(), await join()
    on = topic()
    kept = [f"kept {n}" for n in range(50)]
    await alice.call(
        "irn_batchPublish",
        messages=[
            {"topic": on, "message": each, "ttl": 300, "tag": 1} for each in kept
        ],
    )

    await bob.subscribe(on)
    live = [f"live {n}" for n in range(50)]
    for each in live:
        await alice.publish(on, each)

    assert await bob.heard(100) == kept + live


async def test_messages_published_all_along_arrive_in_order_and_once(join):
    """Before, during and after the pause and the reading of the mailbox."""
    alice, bob = await join(), await join()
    on = topic()
    texts = [f"{n:04d}" for n in range(400)]

    async def publish() -> None:
        for each in texts:
            await alice.publish(on, each)

    publishing = asyncio.create_task(publish())
    await alice.until(lambda: len(alice.frames) >= 20)
    await bob.subscribe(on)
    await publishing

    assert await bob.heard(400) == texts


async def test_a_repeated_subscribe_delivers_nothing_twice(join):
    alice, bob = await join(), await join(acknowledges=False)
    on = topic()
    await alice.publish(on, "kept")
    await bob.subscribe(on)
    await bob.subscribe(on)
    await bob.call("irn_batchSubscribe", topics=[on, on])
    await bob.heard(1)
    await alice.publish(on, "live")

    await bob.subscribe(on)
    await bob.call("irn_batchSubscribe", topics=[on])

    await bob.settled(on)
    assert bob.texts == ["kept", "live"]


async def test_after_unsubscribing_nothing_more_arrives(join):
    alice, bob = await join(), await join()
    on, other = topic(), topic()
    await bob.call("irn_batchSubscribe", topics=[on, other])
    await alice.publish(on, "before")
    await bob.heard(1)

    assert await bob.call("irn_unsubscribe", topic=on, id="made up") is True
    await alice.publish(on, "after")
    await alice.publish(other, "elsewhere")

    assert await bob.heard(2) == ["before", "elsewhere"]


async def test_a_batch_unsubscribes(join):
    alice, bob = await join(), await join()
    topics = [topic() for _ in range(3)]
    await bob.call("irn_batchSubscribe", topics=topics)

    result = await bob.call(
        "irn_batchUnsubscribe",
        subscriptions=[{"topic": each, "id": "x"} for each in topics[:2]],
    )
    for each in topics:
        await alice.publish(each, each)

    assert result is True
    assert await bob.heard(1) == [topics[2]]


async def test_unsubscribing_what_was_not_subscribed_is_true(join):
    alice = await join()

    assert await alice.call("irn_unsubscribe", topic=topic(), id="x") is True


async def test_what_came_after_unsubscribing_is_there_for_the_next_subscribe(join):
    alice, bob = await join(), await join()
    on = topic()
    await bob.subscribe(on)
    await alice.publish(on, "first")
    await bob.heard(1)
    await bob.call("irn_unsubscribe", topic=on, id="x")
    await alice.publish(on, "second")

    await bob.subscribe(on)

    assert await bob.heard(2) == ["first", "second"]


async def test_unsubscribing_during_the_pause_takes_effect(join):
    alice, bob = await join(), await join()
    on = topic()
    await alice.publish(on, "kept")
    await bob.subscribe(on)
    await bob.call("irn_unsubscribe", topic=on, id="x")

    other = topic()
    await alice.publish(other, "later")
    await bob.subscribe(other)

    assert await bob.heard(1) == ["later"]


async def test_a_client_has_no_more_topics_than_the_limit(db):
    async with running_node(relay_topics_per_client=10) as node:
        owner = key()
        async with connected(node.url, owner) as one, connected(node.url, owner) as two:
            topics = [topic() for _ in range(6)]
            await one.call("irn_batchSubscribe", topics=topics)
            with pytest.raises(Refused, match="Subscriber limit exceeded") as refused:
                await two.call("irn_batchSubscribe", topics=[topic() for _ in range(5)])
            assert refused.value.code == -32000

            await one.call("irn_batchSubscribe", topics=topics)
            await one.call("irn_unsubscribe", topic=topics[0], id="x")
            await two.call("irn_batchSubscribe", topics=[topic() for _ in range(5)])
            with pytest.raises(Refused):
                await one.subscribe(topic())
