"""Two connections of one client: what one acknowledges, the other still gets."""

from __future__ import annotations

import asyncio

import pytest

from relayserver.delivery.topics import MAX_WAITING
from tests.relayserver.conftest import running_node
from tests.relayserver.test_mailbox import publish_many
from tests.relayserver.wire import connected, key, topic
from walletconnect.relay.messages import message_id

TRIES = 20


async def acknowledged(node, client, count):
    """Wait until the relay has read that many acknowledgements, and write them."""
    await client.heard(count)
    await client.publish(topic(), "behind the acknowledgements")
    await node.hub.acknowledgements.settle()


@pytest.mark.parametrize("wait_ms", [0, 5, 20, 50, 80])
async def test_what_is_published_after_both_subscribed_reaches_both(
    relay, join, wait_ms
):
    alice = await join()
    both = 0
    for _ in range(TRIES):
        on, owner = topic(), key()
        async with (
            connected(relay.url, owner) as one,
            connected(relay.url, owner) as two,
        ):
            await one.subscribe(on)
            await alice.publish(on, "before")
            await one.heard(1)
            await acknowledged(relay, one, 1)
            await two.subscribe(on)
            await asyncio.sleep(wait_ms / 1000)
            texts = ["live 1", "live 2", "live 3"]
            for text in texts:
                await alice.publish(on, text)
            # Nothing twice; and nothing that was acknowledged before it subscribed.
            assert await one.heard(4) == ["before", *texts]
            assert await two.heard(3) == texts
            both += 1
    assert both == TRIES


async def test_a_stream_published_all_along_reaches_every_connection_whole(relay, join):
    """Connections subscribe while messages come, and the first acknowledges at once."""
    alice = await join()
    on, owner = topic(), key()
    texts = [f"{n:04d}" for n in range(400)]

    async def publish() -> None:
        for each in texts:
            await alice.publish(on, each)

    async with connected(relay.url, owner) as first:
        await first.subscribe(on)
        publishing = asyncio.create_task(publish())
        others = []
        for _ in range(8):
            seen = len(first.texts)
            await first.heard(seen + 20)
            one = await join(owner)
            published = len(alice.frames)
            await one.subscribe(on)
            others.append((one, published))
        await publishing
        for one, published in others:
            await one.until(lambda one=one: texts[-1] in one.texts)
            # It may begin with some that were not acknowledged yet when it subscribed.
            assert one.texts == texts[len(texts) - len(one.texts) :]
            assert len(one.texts) >= len(texts) - published - 1
        assert await first.heard(len(texts)) == texts


async def test_more_than_may_wait_behind_a_page_reaches_the_second_connection(db):
    """The mailbox is read once more, and must not leave out what was acknowledged."""
    async with running_node(relay_queue_messages=50_000) as node:
        on, owner = topic(), key()
        texts = [f"{n:05d}" for n in range(3 * MAX_WAITING)]
        async with (
            connected(node.url, key()) as alice,
            connected(node.url, owner) as one,
            connected(node.url, owner) as two,
        ):
            await one.subscribe(on)
            await alice.publish(on, "first")
            await one.heard(1)
            await two.subscribe(on)
            await publish_many(alice, on, texts)
            await acknowledged(node, one, 1 + len(texts))
            await two.until(lambda: texts[-1] in two.texts)
            assert [each for each in two.texts if each != "first"] == texts


async def test_a_fetch_takes_nothing_from_another_connection(relay, join, monkeypatch):
    alice = await join()
    on, owner = topic(), key()
    release = asyncio.Event()
    page = relay.hub.store.page

    async def slow_page(client, wanted, *, budget):
        # Only mailboxes wait; a fetch begins at the beginning of its topics.
        if client == owner.did and wanted[0].joined_at < 2**62:
            await release.wait()
        return await page(client, wanted, budget=budget)

    monkeypatch.setattr(relay.hub.store, "page", slow_page)
    two = await join(owner)
    await two.subscribe(on)
    await alice.publish(on, "text")
    one = await join(owner)
    fetched = await one.call("irn_fetchMessages", topic=on)
    assert [each["message"] for each in fetched["messages"]] == ["text"]
    await relay.hub.acknowledgements.settle()
    again = await one.call("irn_fetchMessages", topic=on)
    assert again["messages"] == []

    release.set()

    assert await two.heard(1) == ["text"]


async def test_acknowledging_by_name_takes_nothing_from_another_connection(
    relay, join, monkeypatch
):
    alice = await join()
    on, owner = topic(), key()
    one = await join(owner, acknowledges=False)
    await one.subscribe(on)
    release = asyncio.Event()
    page = relay.hub.store.page

    async def slow_page(client, wanted, *, budget):
        await release.wait()
        return await page(client, wanted, budget=budget)

    two = await join(owner)
    monkeypatch.setattr(relay.hub.store, "page", slow_page)
    await two.subscribe(on)
    await alice.publish(on, "text")
    await one.heard(1)
    receipts = [{"topic": on, "messageId": message_id("text")}]
    assert await one.call("irn_batchReceive", receipts=receipts) is True
    release.set()

    assert await two.heard(1) == ["text"]


@pytest.mark.parametrize("count", [1, 3])
async def test_an_empty_mailbox_is_live_at_once(relay, join, count):
    """The first message does not wait for the pause; those behind it stay in order."""
    alice, bob = await join(), await join()
    first = []
    for _ in range(TRIES):
        on = topic()
        await bob.subscribe(on)
        answered = asyncio.get_running_loop().time()
        before = len(bob.deliveries)
        texts = [f"{n}" for n in range(count)]
        for text in texts:
            await alice.publish(on, text)
        await bob.heard(before + count)
        assert bob.texts[before:] == texts
        first.append(bob.deliveries[before].at - answered)
    first.sort()
    assert first[TRIES // 2] < 0.05, first


async def test_a_second_message_waits_for_the_end_of_the_pause(relay, join):
    """Old clients hand on late what they read together with the answer."""
    alice, bob = await join(), await join()
    late = []
    for _ in range(TRIES):
        on = topic()
        await bob.subscribe(on)
        answered = asyncio.get_running_loop().time()
        before = len(bob.deliveries)
        await alice.publish(on, "1")
        await alice.publish(on, "2")
        await bob.heard(before + 2)
        late.append(bob.deliveries[before + 1].at - answered)
    assert min(late) >= 0.05, late
