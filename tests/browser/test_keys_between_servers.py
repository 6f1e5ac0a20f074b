"""A wallet that signs differently each time, on two servers: its keys go from one to the other.

Two whole systems with their own databases and keychains; the second uses the relay, the
archive and the Keys Server of the first, as two servers on a public relay do.
"""

from __future__ import annotations

import secrets

import pytest
from playwright.sync_api import expect

from tests.browser.pages import TIMEOUT_MS, open_live, send, subscribe
from tests.browser.test_linking import begin, first_device
from tests.dashboard.test_linking import Restless
from tests.system import System

pytestmark = [pytest.mark.system, pytest.mark.browser]

expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="module")
def elsewhere(system):
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


def test_the_keys_of_the_store_go_from_one_server_to_the_other(
    system, elsewhere, window
):
    wallet = Restless(secrets.token_bytes(32))
    here = window(base_url=system.base_url)
    there = window(base_url=elsewhere.base_url)
    first_device(here, wallet)
    subscribe(here)
    expect(here.locator('.step[data-state="done"]')).to_have_count(18)

    begin(there, "/signin", wallet)
    there.get_by_role("link", name="Another server already syncs this account").click()
    there.get_by_role("button", name="Make a request").click()
    request = there.locator("#key-request").text_content()

    here.goto("/devices")
    here.get_by_role("link", name="Link a device on another server").click()
    # Something else that was pasted by mistake.
    here.get_by_label("Request of the new device").fill(request[: len(request) // 2])
    here.get_by_role("button", name="Continue").click()
    expect(here.get_by_role("alert")).to_be_visible()
    here.get_by_label("Request of the new device").fill(request)
    here.get_by_role("button", name="Continue").click()
    expect(
        here.get_by_role("heading", name="the keys of the shared store")
    ).to_contain_text(f"localhost:{elsewhere.port}")
    here.get_by_role("button", name="Seal the keys").click()
    answer = here.locator("#key-answer").text_content()

    there.get_by_label("Paste the answer of the other server").fill(answer)
    there.get_by_role("button", name="Join the shared store").click()
    there.wait_for_url("**/inbox")
    expect(there.locator("#flash")).to_contain_text("Sync is on for")
    open_live(there, "/subscriptions")
    row = there.locator("#subscriptions li.row", has_text=f"localhost:{system.port}")
    expect(row).to_contain_text("Acme DAO")

    send(here, "For both servers")
    open_live(there, "/inbox?tab=all")
    expect(there.locator("#messages li.message")).to_contain_text("For both servers")
