"""sync-client 0.3.8 and history 1.0.4 on our relay and archive. Seed: steps 18 and 19."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.relayserver.conftest import running_node

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clients.node import Scenario

pytestmark = pytest.mark.system


def test_released_sync_clients_share_a_store(
    scenario: Callable[..., Scenario],
) -> None:
    assert scenario("sync").finish() == [
        "set travels both ways",
        "delete travels",
        "concurrent writes end equal after the next write",
        "a new wallet gets the store from the mailbox",
    ]


@pytest.mark.django_db
async def test_a_new_wallet_rebuilds_its_store_from_history_alone(
    scenario: Callable[..., Scenario],
) -> None:
    key = "0x" + secrets.token_hex(32)
    await asyncio.to_thread(scenario("fill-store", PRIVATE_KEY=key).finish)
    async with running_node() as empty_relay:
        rebuilding = scenario(
            "rebuild", PRIVATE_KEY=key, TARGET_RELAY_URL=empty_relay.url
        )
        done = await asyncio.to_thread(rebuilding.finish)
    assert done == ["rebuilt from History alone"]
