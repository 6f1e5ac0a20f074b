"""Two windows of a wallet that signs differently each time: the second joins by a code."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.pages import on_b
from tests.dashboard.test_linking import RESTLESS

pytestmark = [pytest.mark.system, pytest.mark.browser]


def paste(page, wallet=RESTLESS) -> None:
    text = page.locator("#text-to-sign").text_content()
    page.get_by_label("Signature", exact=True).fill(wallet.sign(text))
    page.get_by_role("button", name="Check the signature").click()


def begin(page, url: str, wallet=RESTLESS) -> None:
    page.goto(url)
    page.get_by_label("Address").fill(wallet.address)
    page.get_by_role("button", name="Continue").click()
    paste(page, wallet)
    page.wait_for_url("**/signin/share*")


def first_device(page, wallet) -> None:
    """Sign in; two signatures are compared, and Sync is turned on nevertheless."""
    begin(page, "/signin", wallet)
    paste(page, wallet)
    expect(page.get_by_role("heading", name="Sign once more")).to_be_visible()
    paste(page, wallet)
    expect(page.get_by_role("alert")).to_contain_text("signs differently each time")
    page.get_by_role("button", name="Turn Sync on nevertheless").click()
    page.wait_for_url("**/inbox")


def test_the_second_window_goes_on_by_itself_once_the_first_confirms(system, window):
    a, b = window(base_url=system.base_url), window()
    first_device(a, RESTLESS)

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
