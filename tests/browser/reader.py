"""A user with one subscription, signed in once for all tests of a module."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

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
    """The user's browser session; ``receives`` stores notifications for it."""

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


def titles(page: Page) -> list[str]:
    """The tag and number at the beginning of each row's title."""
    found = page.locator(f"{ROWS} .message__title").all_text_contents()
    return [text.split(" ")[0] for text in found]


def place_of(page: Page, selector: str) -> float:
    """How far an element is below the top of the window, without scrolling to it."""
    return page.locator(selector).evaluate("each => each.getBoundingClientRect().top")
