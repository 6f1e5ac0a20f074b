"""The ten steps of the two-window guide; ``/demo`` ticks each of them by itself."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import (
    TIMEOUT_MS,
    is_marked,
    mark_document,
    on_b,
    open_live,
    send,
    subscribe,
)

pytestmark = [pytest.mark.system, pytest.mark.browser]

expect.set_options(timeout=TIMEOUT_MS)


def test_the_guide_ticks_itself(system, two):
    a, b = two
    guide = a.context.new_page()
    open_live(guide, "/demo")
    mark_document(guide)
    ticked(guide, 1, 2)
    subscribe(a)
    ticked(guide, 3)
    open_live(b, on_b(system, "/inbox"))
    send(a, "Proposal 42 is open")
    ticked(guide, 4)
    open_live(a, "/inbox")
    a.get_by_role("link", name="Proposal 42 is open").click()
    ticked(guide, 5)
    switch_off_in(system, b)
    ticked(guide, 6)
    assert is_marked(guide), "the page was not reloaded so far"
    collide(system, guide, b)
    ticked(guide, 7)
    away_and_back(guide, a)
    ticked(guide, 8)
    guide.get_by_role("button", name="Verify").click()
    ticked(guide, 9)
    done = system.manage("verify-sync")
    assert "2 devices, 2 stores, identical" in done.stdout
    sign_b_out(a, b)
    ticked(guide, *range(1, 11))


def ticked(guide: Page, *steps: int) -> None:
    for step in steps:
        mark = guide.locator(f"#script-{step}")
        expect(mark).to_have_attribute("data-done", "yes")


def switch_off_in(system, b: Page) -> None:
    open_live(b, on_b(system, "/subscriptions"))
    b.get_by_role("link", name="Acme DAO").click()
    b.get_by_label("alerts").uncheck()
    b.get_by_role("button", name="Save").click()


def collide(system, guide: Page, b: Page) -> None:
    """Both windows end with the same mute, and the log explains the other one."""
    guide.get_by_role("button", name="Collide").click()
    expect(guide.get_by_text("at the same moment.")).to_be_visible()
    expect(b.get_by_text("muted until").first).to_be_visible()
    open_live(b, on_b(system, "/sync?outcome=stale"))
    expect(b.locator("#updates")).to_contain_text("older, ignored")


def away_and_back(guide: Page, a: Page) -> None:
    guide.get_by_role("button", name="Go offline").click()
    state = guide.locator("#connection")
    expect(state).to_have_attribute("data-state", "offline")
    for number in (1, 2, 3):
        send(a, f"Number {number}")
    guide.get_by_role("button", name="Come back").click()
    text = re.compile(r"[3-9] changes while this window was away; nothing was lost")
    expect(guide.get_by_text(text)).to_be_visible()


def sign_b_out(a: Page, b: Page) -> None:
    open_live(a, "/devices")
    a.get_by_role("button", name="Sign this device out").click()
    a.get_by_role("button", name="Sign this device out").click()
    expect(b.get_by_role("heading", name="This device was signed out")).to_be_visible()
