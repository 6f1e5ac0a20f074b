"""PostgreSQL or Redis away: what stays, what is refused, and how it goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import pytest_asyncio
from django.conf import settings

from common import clock
from tests.relayserver.conftest import running_node
from tests.relayserver.cuttable import cuttable
from tests.relayserver.wire import Refused, connected, key, topic

# A client gives a publish up after ten seconds.
BOUND_S = 9


def postgres_socket() -> Path:
    database = settings.DATABASES["default"]
    return Path(database["HOST"]) / f".s.PGSQL.{database['PORT']}"


def redis_socket() -> Path:
    return Path(settings.REDIS_URL.removeprefix("unix://"))


@pytest_asyncio.fixture
async def database_link(db):
    async with cuttable(postgres_socket()) as link:
        yield link


@pytest_asyncio.fixture
async def node(database_link):
    database = {**settings.DATABASES["default"], "HOST": str(database_link.path.parent)}
    async with running_node(database=database) as node:
        yield node


async def published_again(client, on, text):
    """Publish until it is taken, as a client's own retries would."""
    give_up_at = clock.monotonic() + 15
    while True:
        try:
            return await client.publish(on, text)
        except Refused:
            assert clock.monotonic() < give_up_at


@pytest.mark.parametrize("outage", ["cut", "frozen"])
async def test_without_postgres_publishes_fail_in_time_and_later_go_on(
    node, database_link, outage
):
    on = topic()
    async with connected(node.url, key()) as alice, connected(node.url, key()) as bob:
        await bob.subscribe(on)
        await alice.publish(on, "before")
        await bob.heard(1)

        if outage == "cut":
            await database_link.cut()
        else:
            database_link.freeze()
        began = clock.monotonic()
        with pytest.raises(Refused) as refused:
            await alice.publish(on, "meanwhile")
        assert clock.monotonic() - began < BOUND_S
        assert refused.value.code == -32603
        assert "result" in await bob.answer(77, "irn_subscribe", {"topic": topic()})

        if outage == "cut":
            await database_link.mend()
        else:
            database_link.thaw()
        await published_again(alice, on, "after")
        await bob.until(lambda: "after" in bob.texts)
        assert len(bob.texts) == len(set(bob.texts))


async def test_a_message_whose_commit_was_not_confirmed_is_delivered(
    node, database_link
):
    """The database committed, but its answer was lost: all subscribers get the message."""
    on = topic()
    async with connected(node.url, key()) as alice, connected(node.url, key()) as bob:
        await bob.subscribe(on)
        await alice.publish(on, "before")
        await bob.heard(1)

        database_link.freeze()
        sending = asyncio.create_task(alice.publish(on, "unheard"))
        await asyncio.sleep(0.3)
        await database_link.cut()
        await database_link.mend()
        database_link.thaw()

        await sending
        await bob.heard(2)
        await alice.publish(on, "after")
        assert await bob.heard(3) == ["before", "unheard", "after"]


async def test_a_mailbox_is_served_when_postgres_is_back(node, database_link):
    on = topic()
    async with connected(node.url, key()) as alice, connected(node.url, key()) as bob:
        await alice.publish(on, "kept")
        await database_link.cut()
        await bob.subscribe(on)
        with pytest.raises(Refused):
            await bob.call("irn_fetchMessages", topic=on)
        await database_link.mend()

        assert await bob.heard(1) == ["kept"]


async def test_acknowledgements_of_an_outage_are_written_afterwards(
    node, database_link
):
    on, owner = topic(), key()
    async with connected(node.url, key()) as alice:
        async with connected(node.url, owner, acknowledges=False) as bob:
            await bob.subscribe(on)
            await alice.publish(on, "text")
            await bob.heard(1)
            await database_link.cut()
            await bob.acknowledge(bob.deliveries[0])
            await asyncio.sleep(0.5)
            await database_link.mend()
        async with connected(node.url, owner) as bob:
            await bob.subscribe(on)
            await published_again(alice, on, "next")
            assert await bob.heard(1) == ["next"]


async def test_health_reports_an_unavailable_database(node, database_link):
    from tests.relayserver.test_connect import get

    await database_link.cut()
    for _ in range(100):
        status, _, body = await get(node.url, "/health")
        if status == 503:
            break
        await asyncio.sleep(0.1)

    assert status == 503
    assert '"database_up":false' in body


async def test_without_redis_one_node_misses_nothing(db):
    async with (
        cuttable(redis_socket()) as link,
        running_node(redis_url=f"unix://{link.path}") as node,
        connected(node.url, key()) as alice,
        connected(node.url, key()) as bob,
    ):
        on = topic()
        await link.cut()
        await bob.subscribe(on)
        for n in range(20):
            await alice.publish(on, f"{n}")
        assert await bob.heard(20) == [f"{n}" for n in range(20)]


async def test_the_log_emptied_under_a_running_node_goes_on(relay, join):
    """Tables are emptied by tests and when a backup is restored."""
    import psycopg

    alice, bob = await join(), await join()
    on = topic()
    await bob.subscribe(on)
    await alice.publish(on, "before")
    await bob.heard(1)
    database = settings.DATABASES["default"]
    async with await psycopg.AsyncConnection.connect(
        dbname=database["NAME"],
        host=database["HOST"],
        port=database["PORT"],
        user=database["USER"],
        autocommit=True,
    ) as connection:
        await connection.execute(
            "TRUNCATE relay_relaylog, relay_publishedmessage, relay_mailboxcursor"
        )

    await alice.publish(on, "after")

    assert await bob.heard(2) == ["before", "after"]
