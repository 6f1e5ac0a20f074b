"""Our devices on other people's servers: a second system has only its wallet side in use.

Relay, Keys Server, History and Cast Server are those of the first system; of them the second
knows the addresses. The two share no database, no Redis and no keychain.
"""

from __future__ import annotations

import re
import secrets
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.browser_device import BrowserDevice, wait_for
from tests.system import System
from walletconnect.crypto.ethereum import address_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.browser_device import OwnDapp

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def elsewhere(system: System) -> Iterator[System]:
    """A system whose servers are all in ``system``."""
    running = System(
        RELAY_URL=system.relay_url,
        PROJECT_ID="elsewhere",
        KEYS_SERVER_URL=system.base_url,
        HISTORY_SERVER_URL=f"{system.base_url}/history",
    )
    try:
        yield running.start()
    finally:
        running.remove()


def test_our_device_needs_nothing_but_the_addresses_of_the_servers(
    system: System, elsewhere: System, dapp: OwnDapp
) -> None:
    assert "relay" not in elsewhere.pids()
    with pair(elsewhere, system) as (device, peer):
        account = device.account
        device.sign_in()
        device.subscribe(dapp.url, ["alerts", "news"])
        wait_for("the subscription", device.topics)
        [topic] = device.topics()
        assert call(system, dapp, "GET", "subscribers") == [account]

        assert notify(system, dapp, account, "alerts", "First")["sent"] == [account]
        wait_for("the notification", lambda: "First" in device.inbox())

        # A device that joins later, on the servers' own system, gets it all.
        peer.sign_in()
        wait_for("the peer's copy", lambda: peer.topics() == {topic})
        wait_for("the peer's notification", lambda: "First" in peer.inbox())

        device.update(topic, ["news"])
        wait_for("fewer types", lambda: device.enabled_types(topic) == {"news"})
        wait_for("the peer's scope", lambda: peer.enabled_types(topic) == {"news"})
        refused = notify(system, dapp, account, "alerts", "Not wanted")
        assert [failure["account"] for failure in refused["failed"]] == [account]
        notify(system, dapp, account, "news", "Second")
        for each in (device, peer):
            wait_for("the second", lambda each=each: "Second" in each.inbox())
            assert "Not wanted" not in each.inbox()

        device.unsubscribe(topic)
        wait_for("the end", lambda: not device.topics())
        wait_for("the peer's end", lambda: not peer.topics())
        wait_for("no subscriber", lambda: not call(system, dapp, "GET", "subscribers"))


def test_our_device_that_joins_later_rebuilds_from_a_foreign_history(
    system: System, elsewhere: System, dapp: OwnDapp
) -> None:
    with pair(system, elsewhere) as (device, late):
        device.sign_in()
        device.subscribe(dapp.url, ["alerts"])
        wait_for("the subscription", device.topics)
        for title in ("First", "Second"):
            notify(system, dapp, device.account, "alerts", title)
        wait_for("both", lambda: {"First", "Second"} <= words(device))

        late.sign_in()
        wait_for("the late copy", lambda: late.topics() == device.topics())
        wait_for("both, late", lambda: {"First", "Second"} <= words(late))
        [topic] = late.topics()
        assert late.enabled_types(topic) == {"alerts"}


def test_mutes_and_blocks_travel_between_two_servers_of_one_account(
    system: System, elsewhere: System, dapp: OwnDapp
) -> None:
    with pair(system, elsewhere) as (device, peer):
        device.sign_in()
        device.subscribe(dapp.url, ["alerts", "news"])
        wait_for("the subscription", device.topics)
        [topic] = device.topics()
        peer.sign_in()
        wait_for("the peer's copy", lambda: peer.topics() == {topic})
        page = f"/subscriptions/{topic}"

        device.post(f"{page}/mute", type="news", **{"for": "7d"})
        wait_for("the mute", lambda: "muted until" in peer.page(page))
        peer.post(f"{page}/mute", unmute="news")
        wait_for("its end", lambda: "muted until" not in device.page(page))

        peer.post(f"{page}/block")
        wait_for("the block", lambda: "You blocked this dapp" in device.page(page))
        device.post(device.found(r'action="(/subscriptions/blocked/\d+)"', page))
        wait_for("its end", lambda: "You blocked this dapp" not in peer.page(page))


@contextmanager
def pair(*systems: System) -> Iterator[tuple[BrowserDevice, ...]]:
    """A device of one new account on each system, not yet signed in."""
    key = secrets.token_bytes(32)
    account = f"eip155:1:{address_of(key)}"
    with ExitStack() as stack:
        yield tuple(
            stack.enter_context(BrowserDevice(each.base_url, account, key))
            for each in systems
        )


def words(device: BrowserDevice) -> set[str]:
    return set(re.findall(r"\w+", device.inbox()))


def notify(
    system: System, dapp: OwnDapp, account: str, type_name: str, title: str
) -> dict[str, Any]:
    text = {"type": type_name, "title": title, "body": "World é 😀"}
    return call(
        system, dapp, "POST", "notify", {"notification": text, "accounts": [account]}
    )


def call(
    system: System, dapp: OwnDapp, method: str, path: str, body: object = None
) -> Any:
    """The Cast Server's REST API, as the dapp's backend calls it."""
    answer = httpx.request(
        method,
        f"{system.base_url}/cast/{dapp.project_id}/{path}",
        headers={"Authorization": f"Bearer {dapp.secret}"},
        json=body,
        trust_env=False,
    )
    answer.raise_for_status()
    return answer.json()
