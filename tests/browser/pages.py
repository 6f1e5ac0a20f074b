"""What the tests do on the pages, as a user does it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.system import System

# Generous, because CI machines are slow; a test that passes never waits for it.
TIMEOUT_MS = 30_000


def start_demo(page: Page) -> None:
    """Sign in with a new demo wallet."""
    page.goto("/")
    page.get_by_role("link", name="Start the 2-minute demo").click()
    page.wait_for_url("**/inbox")


def is_live(page: Page) -> None:
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")


def open_live(page: Page, path: str) -> None:
    """Open a page and wait until it receives live updates."""
    page.goto(path)
    is_live(page)


def subscribe(page: Page) -> None:
    """Subscribe to the demo dapp; ends on the page of the attempt."""
    open_live(page, "/discover")
    page.get_by_role("link", name="Choose what Acme DAO may send").click()
    page.get_by_role("button", name="Subscribe").click()
    page.wait_for_url("**/subscriptions/attempt/*")


def send(page: Page, title: str, body: str = "Voting ends on Friday.") -> None:
    """Send a notification from the demo dapp to the user's own accounts."""
    page.goto("/console/acme-dao/send")
    page.get_by_label("Title").fill(title)
    page.get_by_label("Text", exact=True).fill(body)
    page.get_by_role("button", name="Send").click()
    page.wait_for_url("**/sent/*")


def create_project(page: Page, name: str) -> str:
    """Walk through the wizard, hosted here; ends on the keys with the secret. The slug."""
    page.goto("/console/project/new")
    page.get_by_label("Name").first.fill(name)
    page.get_by_role("button", name="Create the project").dblclick()
    # Not ``wait_for_url``, which fails when the second click replaces the first's answer.
    expect(page).to_have_url(re.compile("/setup/domain$"))
    page.get_by_role("button", name="Save and go on").click()
    page.wait_for_url("**/setup/types")
    page.get_by_role("button", name="Save and go on").click()
    page.wait_for_url("**/setup/keys")
    page.get_by_role("button", name="Make the API secret").dblclick()
    expect(page).to_have_url(re.compile(r"/keys\?made="))
    return page.url.partition("/console/")[2].partition("/")[0]


def on_b(system: System, path: str) -> str:
    """The URL of a page for the second device, which uses the other loopback name."""
    return f"http://127.0.0.1:{system.port}{path}"


def mark_document(page: Page) -> None:
    """Set a flag that a reload of the page would lose."""
    page.evaluate("window.isMarked = true")


def is_marked(page: Page) -> bool:
    return page.evaluate("window.isMarked === true")
