"""Acknowledged publishes survive a kill; the relay stops cleanly on SIGTERM."""

from __future__ import annotations

import asyncio

import pytest
from websockets.exceptions import ConnectionClosed

from tests.relayserver.processes import relay_process
from tests.relayserver.wire import connected, key, topic

pytestmark = pytest.mark.system


async def test_nothing_acknowledged_is_lost_when_the_relay_is_killed(db):
    on, acknowledged = topic(), []
    async with (
        relay_process(NOTIFYWEB_LIMITS="relay_frames=10000+10000/s") as relay,
        connected(relay.url, key()) as alice,
    ):
        for number in range(500):
            params = {"topic": on, "message": f"{number}", "ttl": 300, "tag": 1}
            await alice.ask(number, "irn_publish", params)
        await alice.until(lambda: len(alice.frames) >= 100)
        await relay.kill()
        with pytest.raises(AssertionError):
            await alice.answered(500)
        acknowledged = [frame["id"] for frame in alice.frames]

    assert len(acknowledged) >= 100
    async with relay_process() as relay, connected(relay.url, key()) as bob:
        await bob.subscribe(on)
        texts = await bob.heard(len(acknowledged))
        await bob.settled(on)
        texts = bob.texts
    assert texts == [f"{number}" for number in range(len(texts))]
    assert set(acknowledged) <= {int(text) for text in texts}


async def test_killed_between_commit_and_answer_the_repeat_is_one_delivery(db):
    on, alice_key, bob_key = topic(), key(), key()
    async with (
        relay_process(NOTIFYWEB_FAILPOINTS="relay.tick.after_commit") as relay,
        connected(relay.url, alice_key) as alice,
    ):
        with pytest.raises((AssertionError, ConnectionClosed)):
            await alice.publish(on, "text")
        assert await relay.exit_code() == -9

    async with relay_process() as relay, connected(relay.url, bob_key) as bob:
        await bob.subscribe(on)
        async with connected(relay.url, alice_key) as alice:
            assert await alice.publish(on, "text") is True
        await bob.heard(1)
        await bob.settled(on)
        assert bob.texts == ["text"]


async def test_killed_before_the_commit_nothing_is_there_and_the_repeat_is(db):
    on, alice_key = topic(), key()
    async with (
        relay_process(NOTIFYWEB_FAILPOINTS="relay.tick.before_commit") as relay,
        connected(relay.url, alice_key) as alice,
    ):
        with pytest.raises((AssertionError, ConnectionClosed)):
            await alice.publish(on, "text")

    async with relay_process() as relay, connected(relay.url, key()) as bob:
        page = await bob.call("irn_fetchMessages", topic=on)
        assert page["messages"] == []
        async with connected(relay.url, alice_key) as alice:
            await alice.publish(on, "text")
        await bob.subscribe(on)
        assert await bob.heard(1) == ["text"]


async def test_acknowledgements_survive_a_restart(db):
    on, bob_key = topic(), key()
    async with relay_process() as relay:
        async with connected(relay.url, key()) as alice:
            await alice.publish(on, "one")
        async with connected(relay.url, bob_key) as bob:
            await bob.subscribe(on)
            await bob.heard(1)
        relay.terminate()
        assert await relay.exit_code() == 0
    async with relay_process() as relay, connected(relay.url, bob_key) as bob:
        await bob.subscribe(on)
        await bob.settled(on)
        assert bob.texts == []


async def test_on_sigterm_it_answers_pending_requests_and_closes_with_1001(db):
    on = topic()
    async with (
        relay_process(NOTIFYWEB_LIMITS="relay_frames=10000+10000/s") as relay,
        connected(relay.url, key()) as alice,
    ):
        for number in range(300):
            params = {"topic": on, "message": f"{number}", "ttl": 300, "tag": 1}
            await alice.ask(number, "irn_publish", params)
        await alice.until(lambda: len(alice.frames) >= 10)
        relay.terminate()
        code, _ = await alice.closed()
        assert await relay.exit_code() == 0
        answered = [frame["id"] for frame in alice.frames]

    assert code == 1001
    assert answered == list(range(len(answered)))
    async with relay_process() as relay, connected(relay.url, key()) as bob:
        await bob.subscribe(on)
        await bob.heard(len(answered))


async def test_on_sigterm_it_does_not_wait_for_silent_clients(db):
    async with relay_process() as relay, connected(relay.url, key()) as alice:
        await alice.subscribe(topic())
        began = asyncio.get_running_loop().time()
        relay.terminate()
        assert await relay.exit_code() == 0
        assert asyncio.get_running_loop().time() - began < 10
        assert (await alice.closed())[0] == 1001
