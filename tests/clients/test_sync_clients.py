"""sync-client 0.3.8 and history 1.0.4 on our relay and archive. Seed: steps 18 and 19."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.browser_device import BrowserDevice, wait_for
from tests.relayserver.conftest import running_node
from walletconnect.crypto.ethereum import address_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser_device import OwnDapp
    from tests.clients.node import Scenario
    from tests.system import System

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


def test_our_preferences_store_does_not_disturb_the_one_of_the_specification(
    scenario: Callable[..., Scenario], system: System, dapp: OwnDapp
) -> None:
    key = secrets.token_bytes(32)
    account = f"eip155:1:{address_of(key)}"
    running = scenario("preferences", dapp=dapp, PRIVATE_KEY=f"0x{key.hex()}")
    with BrowserDevice(system.base_url, account, key) as browser:
        browser.sign_in()
        browser.subscribe(dapp.url, ["alerts", "news"])
        wait_for("the subscription", browser.topics)
        [topic] = browser.topics()
        page = f"/subscriptions/{topic}"
        running.wait_for("the subscription is here")
        browser.post(f"{page}/mute", type="news", **{"for": "on"})
        running.wait_for(
            "a mute arrives, and the store of the specification has exactly what it had"
        )
        wait_for("both mutes", lambda: browser.page(page).count('name="unmute"') == 2)
        running.tell("the browser has it")
    running.wait_for("concurrent changes are merged")
    running.finish()


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
