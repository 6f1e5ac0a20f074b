"""Clients that send too much, or read too little, lose their connection and nothing else."""

from __future__ import annotations

import asyncio
import json

from common.limits import Bucket
from tests.relayserver.conftest import running_node
from tests.relayserver.wire import connected, key, topic


async def test_more_frames_than_the_limit_end_the_connection_with_1013(db):
    async with running_node(relay_frames=Bucket(50, 10)) as node:
        async with connected(node.url, key()) as alice:
            for number in range(200):
                await alice.ask(number, "irn_subscribe", {"topic": topic()})
            assert (await alice.closed())[0] == 1013
        async with connected(node.url, alice.owner) as alice:
            await alice.publish(topic(), "and back at once")


async def test_acknowledgements_do_not_count_as_requests(db):
    async with (
        running_node(relay_frames=Bucket(50, 1)) as node,
        connected(node.url, key()) as alice,
        connected(node.url, key()) as bob,
    ):
        on = topic()
        await bob.subscribe(on)
        messages = [
            {"topic": on, "message": f"{n}", "ttl": 60, "tag": 1} for n in range(500)
        ]
        await alice.call("irn_batchPublish", messages=messages)
        await bob.heard(500)
        assert await bob.publish(topic(), "still here") is True


async def test_rubbish_counts_as_requests(db):
    async with (
        running_node(relay_frames=Bucket(50, 1)) as node,
        connected(node.url, key()) as charlie,
    ):
        for _ in range(100):
            await charlie.send("rubbish")
        assert (await charlie.closed())[0] == 1013


async def test_a_client_that_does_not_read_is_closed_and_finds_all_in_the_mailbox(db):
    async with running_node(relay_queue_bytes=2**30) as node:
        owner, on = key(), topic()
        texts = [f"{n:03d}" + "x" * 60_000 for n in range(400)]
        async with connected(node.url, key()) as alice:
            async with connected(node.url, owner, acknowledges=False) as bob:
                await bob.subscribe(on)
                await asyncio.sleep(0.3)
                bob.socket.transport.pause_reading()
                for text in texts:
                    await alice.publish(on, text)
                assert node.hub.counts.readers_too_slow == 1
                bob.drop()
            async with connected(node.url, owner) as bob:
                await bob.subscribe(on)
                assert await bob.heard(400) == texts


async def test_a_big_mailbox_is_paced_by_its_reader(db):
    """Catching up slowly is not reading too slowly."""
    async with running_node(relay_queue_bytes=2**30) as node:
        on = topic()
        texts = [f"{n:03d}" + "x" * 60_000 for n in range(400)]
        async with connected(node.url, key()) as alice:
            for text in texts:
                await alice.publish(on, text)
        async with connected(node.url, key()) as bob:
            await bob.subscribe(on)
            await asyncio.sleep(0.3)
            bob.socket.transport.pause_reading()
            await asyncio.sleep(1)
            bob.socket.transport.resume_reading()
            assert await bob.heard(400) == texts
        assert node.hub.counts.readers_too_slow == 0


async def test_ten_thousand_malformed_requests_affect_no_other_client(relay, join):
    alice, bob = await join(), await join()
    on = topic()
    await bob.subscribe(on)

    async def rubbish() -> None:
        for _ in range(20):
            async with connected(relay.url, key()) as charlie:
                for n in range(500):
                    await charlie.send(
                        json.dumps({"id": n, "jsonrpc": "2.0", "method": "irn_publish"})
                    )

    flood = asyncio.create_task(rubbish())
    for n in range(20):
        await alice.publish(on, f"{n}")
    await flood

    assert await bob.heard(20) == [f"{n}" for n in range(20)]
