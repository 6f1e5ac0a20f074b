"""An account moves from one server to another, and from there to published wallets.

Two whole systems: nothing is shared, neither database nor keychain, relay nor archive.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.browser_device import BrowserDevice, wait_for
from tests.clients.test_foreign_servers import notify
from tests.system import System
from walletconnect.crypto.ethereum import address_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.browser_device import OwnDapp
    from tests.clients.node import Scenario

pytestmark = pytest.mark.system

PASSPHRASE = "a passphrase for the move"


@pytest.fixture(scope="module")
def new_system() -> Iterator[System]:
    running = System()
    try:
        yield running.start()
    finally:
        running.remove()


def test_an_account_moves_to_another_server_and_to_a_published_wallet(
    system: System,
    new_system: System,
    dapp: OwnDapp,
    scenario: Callable[..., Scenario],
) -> None:
    key = secrets.token_bytes(32)
    account = f"eip155:1:{address_of(key)}"
    with ExitStack() as stack:
        old, first, second, owner = (
            stack.enter_context(BrowserDevice(each.base_url, account, key))
            for each in (system, new_system, new_system, new_system)
        )
        old.sign_in()
        old.subscribe(dapp.url, ["alerts", "news"])
        wait_for("the subscription", old.topics)
        [moved] = old.topics()
        for title in ("Read before", "Unread before"):
            notify(system, dapp, account, "alerts", title)
            wait_for(title, lambda title=title: title in old.titles())
        old.read("Read before")
        old.page(f"/subscriptions/{moved}")
        old.post(f"/subscriptions/{moved}/mute", type="news", **{"for": "on"})
        content = old.export_account(PASSPHRASE)
        assert moved.encode() in content

        # The same signature leads to the same store; this server has nothing of it yet.
        first.sign_in()
        assert first.topics() == set()
        preview = first.import_account(content, PASSPHRASE)
        assert system.relay_url in preview
        assert first.topics() == {moved}
        assert first.titles() == {"Read before", "Unread before"}
        assert first.unread_titles() == {"Unread before"}
        assert first.enabled_types(moved) == {"alerts", "news"}

        # A device that signs in there later has it all; a second import changes nothing.
        second.sign_in()
        assert second.topics() == {moved}
        assert second.titles() == first.titles()
        assert 'name="unmute"' in second.page(f"/subscriptions/{moved}")
        assert "is here already" in second.import_account(content, PASSPHRASE)

        there = owner.sign_in().make_dapp("There", {"alerts": "A", "news": "N"})
        wallet = scenario(
            "moved",
            dapp=there,
            PRIVATE_KEY=f"0x{key.hex()}",
            MOVED_TOPIC=moved,
            MOVED_URL=dapp.url,
            TARGET_RELAY_URL=new_system.relay_url,
            TARGET_KEYS_URL=new_system.base_url,
            TARGET_HISTORY_URL=f"{new_system.base_url}/history",
            TARGET_CAST_URL=f"{new_system.base_url}/cast",
        )
        wallet.wait_for("a wallet rebuilt the store on the new server")
        topic = wallet.wait_for("it subscribed there")["topic"]
        for device in (first, second):
            wait_for("both", lambda each=device: each.topics() == {moved, topic})
            wait_for("new", lambda each=device: "On the new server" in each.titles())
        second.page(f"/subscriptions/{moved}")
        second.unsubscribe(moved)
        wallet.tell("a browser ended the moved one")
        wallet.wait_for("the end reached it")
        wallet.finish()
        assert first.topics() == {topic}
        # The old server is another world: it still has what it had.
        assert old.topics() == {moved}
        assert "On the new server" not in old.titles()
