"""Relay nodes, really started: in this process, or as the process that a system runs."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from django.conf import settings

from relayserver.connections.listener import Listener
from relayserver.delivery.hub import Hub
from tests.relayserver.wire import WireClient, connected, key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from walletconnect.crypto.signing import IdentityKey

HERE = Path(__file__).parent


@dataclass
class Node:
    """A relay node in this process."""

    hub: Hub
    url: str

    @property
    def http(self) -> str:
        return self.url.replace("ws://", "http://")


@asynccontextmanager
async def running_node(
    *,
    database: dict[str, Any] | None = None,
    redis_url: str | None = None,
    **limits: Any,
) -> AsyncIterator[Node]:
    hub = Hub(
        database=database or settings.DATABASES["default"],
        redis_url=redis_url or settings.REDIS_URL,
        limits=dataclasses.replace(settings.LIMITS, **limits),
    )
    listener = Listener(hub)
    await hub.open()
    port = await listener.open("127.0.0.1", 0)
    try:
        async with asyncio.timeout(10):
            await hub.log.begun()
        yield Node(hub, f"ws://127.0.0.1:{port}")
    finally:
        await hub.finish()
        await listener.close()
        await hub.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The relay reaches the database by itself; the mark makes that database exist."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.django_db)


@pytest_asyncio.fixture
async def relay(db: None) -> AsyncIterator[Node]:
    async with running_node() as node:
        yield node


@pytest_asyncio.fixture
async def join(relay: Node) -> AsyncIterator[Callable[..., Awaitable[WireClient]]]:
    """``await join()``: a new client; ``await join(owner)``: one that was here before."""
    async with AsyncExitStack() as stack:

        async def join(
            owner: IdentityKey | None = None, *, acknowledges: bool = True
        ) -> WireClient:
            return await stack.enter_async_context(
                connected(relay.url, owner or key(), acknowledges=acknowledges)
            )

        yield join
