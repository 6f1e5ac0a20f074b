"""Wallets of both generations and our own devices, with one dapp. Seed: all twenty steps."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.browser_device import BrowserDevice
from walletconnect.crypto.ethereum import address_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clients.conftest import Dapp
    from tests.clients.node import Scenario
    from tests.system import System

pytestmark = pytest.mark.system


def test_two_wallets_go_through_the_twenty_steps(
    scenario: Callable[..., Scenario], dapp: Dapp
) -> None:
    running = scenario("twenty-steps", dapp=dapp)
    done = running.finish()
    assert done[-1] == "deletion reaches Wx and the Cast Server"
    shown = {step for fact in running.facts for step in fact.get("steps", [])}
    assert shown == set(range(1, 21)) - {10}


def test_the_later_generation_works_unchanged(
    scenario: Callable[..., Scenario], dapp: Dapp
) -> None:
    assert scenario("later-generation", dapp=dapp).finish() == [
        "two clients watch",
        "subscribe, and the watcher is told",
        "update, then notifications reach both",
        "history in pages",
        "mark as read, everywhere",
        "delete by the second client reaches the first",
    ]


def test_two_wallets_and_a_browser_device_are_one_account(
    scenario: Callable[..., Scenario], dapp: Dapp, system: System
) -> None:
    key = secrets.token_bytes(32)
    account = f"eip155:1:{address_of(key)}"
    running = scenario("shared-account", dapp=dapp, PRIVATE_KEY=f"0x{key.hex()}")
    with BrowserDevice(system.base_url, account, key) as browser:
        browser.sign_in()
        running.wait_for("wallets are ready")
        running.tell("browser is ready")

        topic = running.wait_for("a wallet subscribed")["topic"]
        browser.waits_for("the wallet's", lambda: topic in browser.topics())
        assert browser.enabled_types(topic) == {"alerts", "news"}
        running.tell("browser has it")

        running.wait_for("wallets received")
        browser.waits_for("the message", lambda: "For all three" in browser.inbox())

        browser.update(topic, ["alerts"])
        running.tell("browser turned news off")
        running.wait_for("scope went both ways")
        both = {"alerts", "news"}
        browser.waits_for("news on", lambda: browser.enabled_types(topic) == both)

        browser.unsubscribe(topic)
        running.tell("browser left")
        running.wait_for("deletion by the browser reached the wallets")

        browser.subscribe(dapp.url, ["alerts", "news"])
        browser.waits_for("its own", browser.topics)
        running.tell("browser subscribed")
        running.wait_for("a subscription of the browser reached the wallets")
        browser.waits_for("the second", lambda: "Second round" in browser.inbox())

        running.wait_for("a wallet left")
        browser.waits_for("the end of it", lambda: not browser.topics())
    running.finish()
