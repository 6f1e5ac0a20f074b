"""One account on clients of both generations, with a browser device of ours between them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser_device import BrowserDevice, wait_for
from walletconnect.crypto.ethereum import address_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.browser_device import OwnDapp
    from tests.clients.node import Scenario
    from tests.system import System

pytestmark = pytest.mark.system

BOTH_TYPES = {"alerts", "news"}


@pytest.fixture
def other_dapp(owner: BrowserDevice) -> OwnDapp:
    name = f"another dapp {secrets.token_hex(3)}"
    return owner.make_dapp(name, {"alerts": "Something urgent", "news": "News"})


@pytest.fixture
def start(
    scenario: Callable[..., Scenario], dapp: OwnDapp, other_dapp: OwnDapp
) -> Callable[..., Scenario]:
    def run(name: str, key: bytes) -> Scenario:
        return scenario(
            name, dapp=dapp, other_dapp=other_dapp, PRIVATE_KEY=f"0x{key.hex()}"
        )

    return run


def test_what_any_client_of_an_account_does_is_seen_by_all_others(
    start: Callable[..., Scenario], dapp: OwnDapp, system: System
) -> None:
    key = secrets.token_bytes(32)
    account = f"eip155:1:{address_of(key)}"
    running = start("two-generations", key)
    with BrowserDevice(system.base_url, account, key) as browser:
        browser.sign_in()
        running.wait_for("wallets are ready")
        running.tell("browser is ready")

        first = joins(running, browser, "1.4.1 subscribed", {"A1", "A2", "A3"})
        second = joins(
            running, browser, "the August wallet subscribed", {"B1", "B2", "B3"}
        )
        assert browser.topics() == {first, second}
        read_state_is_shared(running, browser)
        types_change(running, browser, first=first, second=second)

        running.wait_for("1.4.1 left the August wallet's")
        wait_for("its end", lambda: second not in browser.topics())
        running.wait_for("the August wallet left that of 1.4.1")
        wait_for("its end", lambda: not browser.topics())
        subscribes_and_unsubscribes(running, browser, dapp)

        rest = running.wait_for("everything is at rest")
        assert not browser.topics()
    running.finish()
    no_message_was_repeated(rest)


def test_clients_that_join_later_receive_the_existing_state(
    start: Callable[..., Scenario], system: System
) -> None:
    key = secrets.token_bytes(32)
    account = f"eip155:1:{address_of(key)}"
    running = start("latecomers", key)
    topic = running.wait_for("1.4.1 is alone")["topic"]
    with BrowserDevice(system.base_url, account, key) as browser:
        browser.sign_in()
        wait_for("its subscription", lambda: browser.topics() == {topic})
        wait_for("its notifications", lambda: len(browser.titles()) == 3)
        wait_for("what was read", lambda: browser.unread_titles() == {"one", "three"})
        running.tell("browser has it")
        running.wait_for("an August wallet came")
        running.wait_for("another 1.4.1 came")
        wait_for("the rest", lambda: {"four", "five", "six"} <= browser.unread_titles())
    running.finish()


def joins(
    running: Scenario, browser: BrowserDevice, what: str, titles: set[str]
) -> str:
    """A client subscribes; the browser has it and gets what is sent."""
    topic: str = running.wait_for(what)["topic"]
    wait_for(what, lambda: topic in browser.topics())
    assert browser.enabled_types(topic) == BOTH_TYPES
    running.tell("browser has it")
    running.wait_for("its notifications reached both")
    wait_for(f"{titles}", lambda: titles <= browser.titles())
    return topic


def read_state_is_shared(running: Scenario, browser: BrowserDevice) -> None:
    """1.4.1 reads one here and all there, the browser reads another."""
    running.wait_for("1.4.1 read A3")
    wait_for("A3 to be read", lambda: "A3" not in browser.unread_titles())
    assert {"A1", "A2"} <= browser.unread_titles()
    running.wait_for("1.4.1 read all of August's")
    wait_for("the rest", lambda: browser.unread_titles() == {"A1", "A2"})
    browser.read("A1")
    running.tell("browser read A1")
    running.wait_for("what the browser read is read in 1.4.1")


def types_change(
    running: Scenario, browser: BrowserDevice, *, first: str, second: str
) -> None:
    """Both wallets switch a type off, the browser switches both on again."""
    running.wait_for("each changed the other's types")
    for topic, types in ((second, {"alerts"}), (first, {"news"})):
        wait_for("less", lambda t=topic, n=types: browser.enabled_types(t) == n)
    for topic in (first, second):
        browser.update(topic, sorted(BOTH_TYPES))
        wait_for("all", lambda t=topic: browser.enabled_types(t) == BOTH_TYPES)
    running.tell("browser changed them back")
    running.wait_for("notifications go on")
    wait_for("the rest", lambda: {"A4", "A5", "B4", "B5"} <= browser.titles())
    running.tell("browser has them")


def subscribes_and_unsubscribes(
    running: Scenario, browser: BrowserDevice, dapp: OwnDapp
) -> None:
    browser.subscribe(dapp.url, sorted(BOTH_TYPES))
    wait_for("its own", browser.topics)
    [topic] = browser.topics()
    running.tell("browser subscribed")
    wait_for("C1 and C2", lambda: {"C1", "C2"} <= browser.titles())
    browser.unsubscribe(topic)
    running.tell("browser left")
    assert running.wait_for("the browser's came and went")["topic"] == topic


def no_message_was_repeated(rest: dict[str, Any]) -> None:
    """The relay carried each message that was needed once, and none after them."""
    counts = rest["counts"]

    def all_of(what: str) -> list[int]:
        return [each[what] for each in counts]

    # A subscribe, and an update by each of two clients: the first to receive it writes it.
    assert all_of("sets") == [3, 3, 1]
    # A client that receives the delete on the topic may remove the entry, too.
    assert all(1 <= number <= 2 for number in all_of("deletes"))
    entries = sum(all_of("sets") + all_of("deletes"))
    assert rest["store"] == entries, "nothing else is in the shared store"
    assert all_of("notifications") == [5, 5, 2]
    assert all_of("updates") == [2, 2, 0]
    assert all_of("farewells") == [1, 1, 1]
    assert all_of("marks") == [2, 1, 0]
    # 1.4.1 asked for two, the rest is ours: what did 1.4.1 read?
    pages = all_of("pages")
    assert 3 <= pages[0] <= 4
    assert 1 <= pages[1] <= 2
    assert pages[2] == 0
    for each in counts:
        receipts = 3 * each["notifications"]
        requests = sum(each[name] for name in ("updates", "marks", "pages"))
        # Another wallet may answer a delete beside the Cast Server.
        assert each["answers"] <= receipts + requests + 2
    # The watch, and eight changes by other clients.
    assert rest["lists"] <= 9
