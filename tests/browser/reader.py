"""A person with one subscription, signed in once for all tests of a module."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PATIENCE_MS
from tests.browser.flood import flood

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.system import System

ROWS = "#messages > [data-row]"
PHONE = {"width": 390, "height": 844}
TABLET = {"width": 900, "height": 900}
DESKTOP = {"width": 1280, "height": 860}


@dataclass
class Reader:
    """Whose session it is, and how notifications reach it."""

    system: System
    state: Any
    topic: str
    origin: str = field(init=False)

    def __post_init__(self) -> None:
        self.origin = self.system.base_url
        self.receives = partial(flood, self.system, self.topic)

    @property
    def cookie(self) -> str:
        return "; ".join(f"{c['name']}={c['value']}" for c in self.state["cookies"])


@pytest.fixture(scope="module")
def reader(system, chromium):
    context = chromium.new_context(base_url=system.base_url)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto("/")
    page.get_by_role("link", name="Start the 2-minute demo").click()
    page.wait_for_url("**/inbox")
    page.goto("/discover")
    page.get_by_role("link", name="Choose what Acme DAO may send").click()
    page.get_by_role("button", name="Subscribe").click()
    page.wait_for_url("**/subscriptions/attempt/*")
    page.goto("/subscriptions")
    row = page.locator("#subscriptions .row__link")
    expect(row).to_have_count(1)
    topic = row.get_attribute("href").rpartition("/")[2]
    yield Reader(system, context.storage_state(), topic)
    context.close()


@pytest.fixture
def open_page(reader, window):
    """``open_page("/inbox", PHONE)``: the reader's page, once it is live."""

    def opened(path: str, size: dict[str, int] = DESKTOP, **options: Any) -> Page:
        page = window(base_url=reader.origin, storage_state=reader.state, **options)
        page.set_viewport_size(size)
        page.goto(path)
        is_live(page)
        return page

    return opened


def is_live(page: Page) -> None:
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")


def titles(page: Page) -> list[str]:
    """The tag and number at the beginning of each row's title."""
    found = page.locator(f"{ROWS} .message__title").all_text_contents()
    return [text.split(" ")[0] for text in found]


def place_of(page: Page, selector: str) -> float:
    """How far an element is below the top of the window, without scrolling to it."""
    return page.locator(selector).evaluate("each => each.getBoundingClientRect().top")
