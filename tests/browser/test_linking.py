"""Two windows of a wallet that signs differently each time: the second joins by a code."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.pages import on_b
from tests.dashboard.test_linking import RESTLESS

pytestmark = [pytest.mark.system, pytest.mark.browser]


def paste(page) -> None:
    text = page.locator("#text-to-sign").text_content()
    page.get_by_label("Signature", exact=True).fill(RESTLESS.sign(text))
    page.get_by_role("button", name="Check the signature").click()


def begin(page, url: str) -> None:
    page.goto(url)
    page.get_by_label("Address").fill(RESTLESS.address)
    page.get_by_role("button", name="Continue").click()
    paste(page)
    page.wait_for_url("**/signin/share*")


def test_the_second_window_goes_on_by_itself_once_the_first_confirms(system, window):
    a, b = window(base_url=system.base_url), window()
    begin(a, "/signin")
    # Compared on the first device, and turned on nevertheless.
    paste(a)
    expect(a.get_by_role("heading", name="Sign once more")).to_be_visible()
    paste(a)
    expect(a.get_by_role("alert")).to_contain_text("signs differently each time")
    a.get_by_role("button", name="Turn Sync on nevertheless").click()
    a.wait_for_url("**/inbox")

    begin(b, on_b(system, "/signin"))
    paste(b)
    expect(b.get_by_role("alert")).to_contain_text("signs differently each time")
    b.get_by_role("link", name="Link from a device that syncs").click()
    b.get_by_role("button", name="Show a code").click()
    expect(b.get_by_role("img", name="QR code that opens")).to_be_visible()
    code = b.locator("#link-code").text_content()

    a.goto("/devices")
    a.get_by_role("link", name="Link a device with a code").click()
    a.get_by_label("Code on the new device").fill(code.lower())
    a.get_by_role("button", name="Continue").click()
    a.get_by_role("button", name="Link this device").click()
    expect(a.locator("#flash")).to_contain_text("is linked and syncs")
    b.wait_for_url("**/inbox")
    expect(b.locator("#flash")).to_contain_text("Sync is on for")
