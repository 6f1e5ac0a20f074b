"""From sign-in to undo with the keyboard alone, the focus always visible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.pages import TIMEOUT_MS, is_live

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.system, pytest.mark.browser]

expect.set_options(timeout=TIMEOUT_MS)
MAX_STEPS = 80
IS_FOCUSED = "each => each === document.activeElement"
OUTLINE = """each => {
  const shown = getComputedStyle(each.matches(".row__link, .pick input") ? each.parentElement : each);
  const own = getComputedStyle(each);
  return each.matches(":focus-visible") && [own, shown].some((style) => style.outlineStyle !== "none");
}"""


def tab_to(page: Page, target: Locator) -> None:
    expect(target).to_be_visible()
    for _ in range(MAX_STEPS):
        page.keyboard.press("Tab")
        if target.evaluate(IS_FOCUSED):
            assert target.evaluate(OUTLINE), "the focus is not visible"
            return
    raise AssertionError(f"the keyboard does not reach {target}")


def press(page: Page, target: Locator) -> None:
    tab_to(page, target)
    page.keyboard.press("Enter")


def go(page: Page, letter: str, path: str) -> None:
    page.keyboard.press("g")
    page.keyboard.press(letter)
    page.wait_for_url(f"**{path}")
    is_live(page)


def test_sign_in_subscribe_read_mute_and_undo_need_no_pointer(system, window):
    page = window(base_url=system.base_url)
    page.goto("/signin")
    press(page, page.get_by_role("button", name="Use a demo wallet"))
    page.wait_for_url("**/inbox")
    is_live(page)

    go(page, "d", "/discover")
    press(page, page.get_by_role("link", name="Choose what Acme DAO may send"))
    press(page, page.get_by_role("button", name="Subscribe", exact=True))
    page.wait_for_url("**/subscriptions/attempt/*")
    expect(page.locator('.step[data-state="done"]')).to_have_count(18)

    go(page, "c", "/console")
    press(page, page.get_by_role("link", name="Acme DAO"))
    press(page, page.get_by_role("link", name="Send", exact=True).first)
    tab_to(page, page.get_by_label("Title"))
    page.keyboard.type("By keyboard")
    tab_to(page, page.get_by_label("Text", exact=True))
    page.keyboard.type("Without a pointer")
    press(page, page.get_by_role("button", name="Send", exact=True))
    page.wait_for_url("**/sent/*")

    go(page, "i", "/inbox")
    row = page.locator("#messages li.message", has_text="By keyboard")
    expect(row).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    detail = page.locator("article.detail")
    expect(detail.get_by_role("heading", name="By keyboard")).to_be_visible()
    expect(page.locator("#unread-tab-count")).to_be_empty()

    page.keyboard.press("m")
    hour = detail.get_by_role("button", name="1 hour", exact=True)
    expect(hour).to_be_focused()
    page.keyboard.press("Enter")
    expect(detail.get_by_text("muted until")).to_be_visible()
    press(page, detail.get_by_role("button", name="Unmute"))
    expect(page.locator("#flash")).to_contain_text("alerts you again")

    page.keyboard.press("y")
    expect(page.locator("#status")).to_contain_text("Undo")
    page.keyboard.press("u")
    expect(page.locator("#status")).not_to_contain_text("Undo")
    go(page, "i", "/inbox")
    page.goto("/inbox?tab=all")
    expect(row).to_be_visible()
