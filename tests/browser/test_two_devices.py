"""Two browsers with one demo wallet: changes in one appear in the other without a reload.

The whole protocol runs in between: relay, keys server, history, cast server and Sync.
"""

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
UNREAD = re.compile("is-unread")


def test_two_devices_stay_in_step(system, two):
    """One run through all features, as in the demo."""
    a, b = two
    subscribed_in_a_is_there_in_b(system, a, b)
    c = a.context.new_page()
    sent_by_the_dapp_is_there_in_both(system, a, [b, c])
    read_in_a_is_read_in_b(a, b, c)
    archived_in_b_and_brought_back(b, c)
    switched_off_in_b_moves_the_switch_in_a(system, a, b)
    unsubscribed_in_b_is_gone_in_a(a, b)


def subscribed_in_a_is_there_in_b(system, a: Page, b: Page) -> None:
    open_live(b, on_b(system, "/subscriptions"))
    mark_document(b)
    expect(b.locator("#subscriptions li")).to_have_count(0)
    subscribe(a)
    expect(b.locator("#subscriptions li")).to_have_count(1)
    expect(b.locator("#subscriptions")).to_contain_text("Acme DAO")
    # The twenty steps tick themselves.
    expect(a.locator('.step[data-state="done"]')).to_have_count(20)
    expect(a.get_by_role("link", name="Open the subscription")).to_be_visible()
    assert is_marked(b)


def sent_by_the_dapp_is_there_in_both(system, a: Page, others: list[Page]) -> None:
    b, c = others
    open_live(c, "/inbox")
    open_live(b, on_b(system, "/inbox?tab=all"))
    for page in others:
        mark_document(page)
    send(a, "Proposal 42 is open")
    for page in others:
        row = page.locator("#messages li.message")
        expect(row).to_have_count(1)
        expect(row).to_contain_text("Proposal 42 is open")
        expect(row).to_have_class(UNREAD)
        expect(page.locator("#unread-count")).to_have_text("1")
        assert is_marked(page)


def read_in_a_is_read_in_b(a: Page, b: Page, c: Page) -> None:
    open_live(a, "/inbox")
    a.get_by_role("link", name="Proposal 42 is open").click()
    expect(b.locator("#messages li.message")).not_to_have_class(UNREAD)
    expect(b.locator("#unread-count")).to_have_text("")
    # The unread tab of A's other page loses the row.
    expect(c.locator("#messages li.message")).to_have_count(0)
    expect(c.get_by_text("Nothing unread")).to_be_visible()
    assert is_marked(b)
    assert is_marked(c)


def archived_in_b_and_brought_back(b: Page, c: Page) -> None:
    open_live(c, "/inbox?tab=all")
    b.locator("#messages li.message").hover()
    b.get_by_role("button", name="Archive “Proposal 42 is open”").click()
    expect(c.locator("#messages li.message")).to_have_count(0)
    b.get_by_role("button", name="Undo").click()
    expect(c.locator("#messages li.message")).to_have_count(1)
    expect(b.locator("#messages li.message")).to_have_count(1)


def switched_off_in_b_moves_the_switch_in_a(system, a: Page, b: Page) -> None:
    open_live(a, "/subscriptions")
    a.get_by_role("link", name="Acme DAO").click()
    expect(a.locator("#connection")).to_have_attribute("data-state", "live")
    mark_document(a)
    open_live(b, on_b(system, "/subscriptions"))
    b.get_by_role("link", name="Acme DAO").click()
    b.get_by_label("alerts").uncheck()
    b.get_by_role("button", name="Save").click()
    expect(a.get_by_label("alerts")).not_to_be_checked()
    expect(a.get_by_label("proposals")).to_be_checked()
    assert is_marked(a)


def unsubscribed_in_b_is_gone_in_a(a: Page, b: Page) -> None:
    open_live(a, "/subscriptions")
    mark_document(a)
    expect(b.get_by_text("Waiting for the dapp to confirm")).to_have_count(0)
    b.get_by_role("button", name="Unsubscribe").click()
    expect(a.locator("#subscriptions li")).to_have_count(0)
    expect(a.get_by_text("No subscription yet")).to_be_visible()
    assert is_marked(a)


def test_what_happened_while_away_is_there_on_coming_back(system, two):
    a, b = two
    subscribe(a)
    expect(a.locator('.step[data-state="done"]')).to_have_count(20)
    open_live(b, on_b(system, "/inbox"))
    mark_document(b)
    b.context.set_offline(True)
    expect(b.locator("#connection")).to_have_attribute("data-state", "offline")
    for number in (1, 2, 3):
        send(a, f"Number {number}")
    b.context.set_offline(False)
    expect(b.locator("#messages li.message")).to_have_count(3)
    titles = b.locator("#messages .message__title").all_inner_texts()
    assert titles == ["Number 3", "Number 2", "Number 1"]
    assert is_marked(b)
    # The page by events is the page by reading.
    live = b.locator("#messages").inner_html()
    b.reload()
    expect(b.locator("#messages li.message")).to_have_count(3)
    assert plain(b.locator("#messages").inner_html()) == plain(live)


def plain(html: str) -> str:
    """Markup without what scripts add: formatted times, attributes of htmx."""
    html = re.sub(
        r' data-(?:local|htmx-powered)="[^"]*"| title="[^"]*UTC[^"]*"', "", html
    )
    html = re.sub(r"<time[^>]*>[^<]*</time>", "<time>", html)
    return re.sub(r"\s+", " ", html).replace("> <", "><").strip()


def test_a_signed_out_device_shows_which_device_did_it(system, two):
    a, b = two
    open_live(b, on_b(system, "/inbox"))
    open_live(a, "/devices")
    a.get_by_role("button", name="Sign this device out").click()
    # The first press opens the confirmation page.
    a.get_by_role("button", name="Sign this device out").click()
    expect(b.get_by_role("heading", name="This device was signed out")).to_be_visible()
    expect(b.get_by_text("It was signed out from")).to_contain_text("Chrome · Linux")
    b.reload()
    b.wait_for_url("**/signin?next=*")


def test_the_socket_refused_the_page_polls(system, two):
    a, b = two
    b.route_web_socket("**/ws/device/", lambda line: line.close())
    b.goto(on_b(system, "/inbox"))
    expect(b.locator("#connection")).to_have_attribute("data-state", "polling")
    mark_document(b)
    subscribe(a)
    expect(a.locator('.step[data-state="done"]')).to_have_count(20)
    send(a, "Without a socket")
    expect(b.locator("#messages li.message")).to_contain_text("Without a socket")
    assert is_marked(b)


def test_reading_and_unsubscribing_work_without_javascript(system, window, two):
    a, _ = two
    subscribe(a)
    expect(a.locator('.step[data-state="done"]')).to_have_count(20)
    send(a, "Plain")
    # A page without a script does not update: the message has to be there before it opens.
    a.goto("/inbox?tab=all")
    expect(a.get_by_role("link", name="Plain")).to_be_visible()
    still = window(java_script_enabled=False, base_url=system.base_url)
    still.context.add_cookies(a.context.cookies())
    still.goto("/inbox")
    still.get_by_role("link", name="Plain").click()
    expect(still.get_by_role("heading", name="Plain")).to_be_visible()
    still.get_by_role("button", name="Archive", exact=True).click()
    expect(still.get_by_text("Archived.")).to_be_visible()
    still.goto("/subscriptions")
    still.get_by_role("link", name="Acme DAO").click()
    still.get_by_role("button", name="Unsubscribe").click()
    expect(
        still.get_by_text("You are no longer subscribed to Acme DAO")
    ).to_be_visible()
