"""Limits on connections, handshakes and topics: per client, per address and in all."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

import pytest
from django.test import override_settings
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from common.limits import Limits
from relayserver.connections.handshakes import Handshakes
from tests.relayserver.conftest import running_node
from tests.relayserver.wire import Refused, address, connected, key, token, topic

PROXIED = override_settings(TRUSTED_PROXIES=1)


def dial(node, owner, *, forwarded: str = ""):
    target = address(node.url, auth=token(owner), projectId="test")
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    return connect(target, compression=None, additional_headers=headers)


async def refused(node, owner, *, forwarded: str = "") -> bool:
    try:
        async with dial(node, owner, forwarded=forwarded):
            return False
    except InvalidStatus as error:
        response = error.response
    return response.status_code == 429 and int(response.headers["Retry-After"]) > 0


async def opened(node, count: int) -> None:
    async with asyncio.timeout(10):
        while node.hub.present()["connections"] != count:  # noqa: ASYNC110 - a gauge
            await asyncio.sleep(0.01)


async def test_connections_per_client(db):
    async with running_node(relay_connections_per_client=2) as node:
        owner = key()
        async with dial(node, owner):
            async with dial(node, owner):
                await opened(node, 2)
                assert await refused(node, owner)
                assert not await refused(node, key())
            await opened(node, 1)
            assert not await refused(node, owner)


async def test_connections_in_all(db):
    async with running_node(relay_connections=2) as node:
        async with dial(node, key()), dial(node, key()):
            await opened(node, 2)
            assert await refused(node, key())
        await opened(node, 0)
        assert not await refused(node, key())


async def test_connections_per_address_behind_a_trusted_proxy(db):
    with PROXIED:
        async with running_node(relay_connections_per_address=1) as node:
            async with dial(node, key(), forwarded="203.0.113.1"):
                await opened(node, 1)
                assert await refused(node, key(), forwarded="203.0.113.1")
                assert not await refused(node, key(), forwarded="203.0.113.2")
            await opened(node, 0)
            async with dial(node, key(), forwarded="2001:db8::1"):
                await opened(node, 1)
                assert await refused(node, key(), forwarded="2001:db8::2")
                assert not await refused(node, key(), forwarded="2001:db8:0:1::2")


async def test_an_untrusted_forwarded_header_is_ignored(db):
    async with (
        running_node(relay_connections_per_address=1) as node,
        dial(node, key(), forwarded="203.0.113.1"),
    ):
        await opened(node, 1)
        # Both are loopback, which has no limit per address.
        assert not await refused(node, key(), forwarded="203.0.113.1")


@pytest.mark.parametrize("limit", ["relay_topics", "relay_topics_per_client"])
async def test_topics_can_be_subscribed_again_once_others_are_unsubscribed(db, limit):
    async with running_node(**{limit: 3}) as node, connected(node.url, key()) as alice:
        topics = [topic() for _ in range(4)]
        for each in topics[:3]:
            await alice.subscribe(each)
        with pytest.raises(Refused) as refused_call:
            await alice.subscribe(topics[3])
        assert refused_call.value.tag == "SubscriberLimitExceeded"
        await alice.call("irn_unsubscribe", topic=topics[0], id="")
        await alice.subscribe(topics[3])


async def test_topics_per_address_behind_a_trusted_proxy(db):
    """Counted over all clients of the address, and given back when a connection ends."""
    with PROXIED:
        async with running_node(relay_topics_per_address=3) as node:
            async with connected(node.url, key(), forwarded="203.0.113.1") as alice:
                await alice.call("irn_batchSubscribe", topics=[topic(), topic()])
                async with connected(node.url, key(), forwarded="203.0.113.1") as bob:
                    with pytest.raises(Refused) as refused_call:
                        await bob.call("irn_batchSubscribe", topics=[topic(), topic()])
                    assert refused_call.value.tag == "SubscriberLimitExceeded"
                    # A batch is taken whole or not at all.
                    await bob.subscribe(topic())
                    with pytest.raises(Refused):
                        await bob.subscribe(topic())
                async with connected(
                    node.url, key(), forwarded="203.0.113.2"
                ) as charlie:
                    await charlie.call(
                        "irn_batchSubscribe", topics=[topic() for _ in range(3)]
                    )
            await opened(node, 0)
            async with connected(node.url, key(), forwarded="203.0.113.1") as alice:
                topics = [topic() for _ in range(3)]
                await alice.call("irn_batchSubscribe", topics=topics)
                await alice.call("irn_unsubscribe", topic=topics[0], id="")
                await alice.subscribe(topic())
                with pytest.raises(Refused):
                    await alice.subscribe(topic())


async def test_loopback_has_no_limit_of_topics_per_address(db):
    async with (
        running_node(relay_topics_per_address=1) as node,
        connected(node.url, key()) as gateway,
    ):
        await gateway.call("irn_batchSubscribe", topics=[topic(), topic()])


async def test_topics_of_a_closed_connection_are_not_counted(db):
    async with running_node(relay_topics=2) as node:
        async with connected(node.url, key()) as alice:
            await alice.subscribe(topic())
            await alice.subscribe(topic())
        await opened(node, 0)
        async with connected(node.url, key()) as bob:
            await bob.subscribe(topic())
        assert len(node.hub.topics) <= 1


async def test_handshakes_are_limited_and_a_finished_one_makes_room(db):
    async with running_node(relay_handshakes=3) as node:
        port = int(node.url.rsplit(":", 1)[1])
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        silent.pop()[1].close()
        await asyncio.sleep(0.1)
        # Sessions do not count: more than three in all.
        async with dial(node, key()), dial(node, key()):
            assert not await refused(node, key())
        for _, open_writer in silent:
            open_writer.close()


def test_handshakes_per_address(settings):
    handshakes = Handshakes(
        dataclasses.replace(Limits(), relay_handshakes_per_address=2)
    )
    assert [handshakes.begin("203.0.113.1") for _ in range(3)] == [True, True, False]
    assert handshakes.begin("203.0.113.2")
    handshakes.end("203.0.113.1")
    assert handshakes.begin("203.0.113.1")
    assert all(handshakes.begin("127.0.0.1") for _ in range(3))
    settings.TRUSTED_PROXIES = 1
    assert handshakes.begin("203.0.113.1")
