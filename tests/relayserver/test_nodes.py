"""Several nodes on one PostgreSQL and Redis are one relay."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest_asyncio

from common import clock
from tests.relayserver.conftest import running_node
from tests.relayserver.cuttable import cuttable
from tests.relayserver.test_outages import redis_socket
from tests.relayserver.wire import connected, key, topic


@pytest_asyncio.fixture
async def two_nodes(db):
    async with running_node() as one, running_node() as two:
        await know_each_other(one, two)
        yield one, two


async def know_each_other(*nodes):
    """Publish a little, so that each node has found that it is not alone."""
    for _ in range(200):
        for node in nodes:
            async with connected(node.url, key()) as client:
                await client.publish(topic(), "hello")
        if all(node.hub.nodes.others for node in nodes):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the nodes do not see each other")


async def test_messages_of_one_node_reach_subscribers_of_the_other(two_nodes):
    one, two = two_nodes
    on = topic()
    async with connected(one.url, key()) as alice, connected(two.url, key()) as bob:
        await bob.subscribe(on)
        for n in range(50):
            await alice.publish(on, f"{n}")

        assert await bob.heard(50) == [f"{n}" for n in range(50)]
        assert two.hub.counts.node_ticks_received >= 50


async def test_the_publisher_receives_no_echo_on_another_node(two_nodes):
    one, two = two_nodes
    on, owner = topic(), key()
    async with connected(one.url, owner) as alice, connected(two.url, owner) as also:
        await also.subscribe(on)
        await alice.publish(on, "own")
        await also.settled(on)
        assert also.texts == []


async def test_acknowledged_on_one_node_is_not_sent_by_the_other(two_nodes):
    one, two = two_nodes
    on, owner = topic(), key()
    async with connected(one.url, key()) as alice:
        async with connected(one.url, owner) as bob:
            await bob.subscribe(on)
            await alice.publish(on, "text")
            await bob.heard(1)
            await bob.publish(topic(), "so that the acknowledgement was read")
        await one.hub.acknowledgements.settle()
        async with connected(two.url, owner) as bob:
            await bob.subscribe(on)
            await bob.settled(on)
            assert bob.texts == []


async def test_the_same_text_through_two_nodes_is_one_message(two_nodes):
    one, two = two_nodes
    on = topic()
    async with (
        connected(one.url, key()) as alice,
        connected(two.url, key()) as dave,
        connected(two.url, key()) as bob,
    ):
        await bob.subscribe(on)
        await asyncio.gather(alice.publish(on, "text"), dave.publish(on, "text"))
        await bob.settled(on)
        assert bob.texts == ["text"]


async def test_all_nodes_deliver_in_one_order(two_nodes):
    one, two = two_nodes
    on = topic()
    async with AsyncExitStack() as stack:
        hearers = [
            await stack.enter_async_context(connected(node.url, key()))
            for node in (one, two)
        ]
        for hearer in hearers:
            await hearer.subscribe(on)

        async def publish(node, name):
            async with connected(node.url, key()) as client:
                for n in range(100):
                    await client.publish(on, f"{name}{n}")

        await asyncio.gather(publish(one, "a"), publish(two, "b"))

        first = await hearers[0].heard(200)
        second = await hearers[1].heard(200)
        assert first == second
        for name in "ab":
            mine = [text for text in first if text.startswith(name)]
            assert mine == [f"{name}{n}" for n in range(100)]
        # And a mailbox keeps that order, too.
        late = await stack.enter_async_context(connected(one.url, key()))
        await late.subscribe(on)
        assert await late.heard(200) == first


async def test_a_node_that_lost_redis_catches_up_from_the_table(db):
    async with (
        cuttable(redis_socket()) as link,
        running_node(relay_queue_messages=10_000) as one,
        running_node(redis_url=f"unix://{link.path}") as two,
        connected(one.url, key()) as alice,
        connected(two.url, key()) as bob,
    ):
        await know_each_other(one, two)
        on = topic()
        await bob.subscribe(on)
        await alice.publish(on, "before")
        await bob.heard(1)

        await link.cut()
        texts = [f"meanwhile {n}" for n in range(1500)]
        for start in range(0, 1500, 500):
            messages = [
                {"topic": on, "message": text, "ttl": 60, "tag": 1}
                for text in texts[start : start + 500]
            ]
            await alice.call("irn_batchPublish", messages=messages)
            await bob.heard(2)
        await link.mend()
        await alice.publish(on, "after")

        assert await bob.heard(1502) == ["before", *texts, "after"]


async def test_even_while_redis_is_away_the_table_is_followed(db):
    """The last tick before a silence is found, too: the head is compared."""
    async with (
        cuttable(redis_socket()) as link,
        running_node() as one,
        running_node(redis_url=f"unix://{link.path}") as two,
        connected(one.url, key()) as alice,
        connected(two.url, key()) as bob,
    ):
        on = topic()
        await bob.subscribe(on)
        await link.cut()
        await alice.publish(on, "unheard of")
        began = clock.monotonic()

        assert await bob.heard(1) == ["unheard of"]
        assert clock.monotonic() - began < 5


async def test_a_node_that_ends_takes_nothing_with_it(db):
    on, owner = topic(), key()
    async with running_node() as two:
        async with (
            running_node() as one,
            connected(one.url, owner, acknowledges=False) as bob,
            connected(one.url, key()) as alice,
        ):
            await bob.subscribe(on)
            await alice.publish(on, "text")
            await bob.heard(1)
        async with connected(two.url, owner) as bob:
            await bob.subscribe(on)
            assert await bob.heard(1) == ["text"]


async def test_connections_of_one_client_on_two_nodes_both_get_what_is_published(
    two_nodes,
):
    one, two = two_nodes
    for _ in range(20):
        on, owner = topic(), key()
        async with (
            connected(one.url, key()) as alice,
            connected(one.url, owner) as bob,
            connected(two.url, owner) as also,
        ):
            await bob.subscribe(on)
            await alice.publish(on, "acknowledged")
            await bob.heard(1)
            await bob.publish(topic(), "behind the acknowledgement")
            await one.hub.acknowledgements.settle()
            await also.subscribe(on)
            await alice.publish(on, "live")
            await bob.heard(2)
            await bob.publish(topic(), "behind the acknowledgement")
            await one.hub.acknowledgements.settle()
            await alice.publish(on, "last")
            assert await also.heard(2) == ["live", "last"]


async def test_a_tick_that_comes_late_brings_nothing_that_was_acknowledged(
    two_nodes, monkeypatch
):
    one, two = two_nodes
    on, owner = topic(), key()
    late = []
    offer = two.hub.log.offer
    monkeypatch.setattr(two.hub.log, "offer", late.append)
    async with (
        connected(one.url, key()) as alice,
        connected(one.url, owner) as bob,
        connected(two.url, owner) as also,
    ):
        await bob.subscribe(on)
        await alice.publish(on, "acknowledged")
        await bob.heard(1)
        await bob.publish(topic(), "behind the acknowledgement")
        await one.hub.acknowledgements.settle()
        await also.subscribe(on)
        monkeypatch.undo()
        for tick in late:
            offer(tick)
        await alice.publish(on, "live")
        assert await also.heard(1) == ["live"]
