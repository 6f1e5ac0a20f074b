"""Two browsers, one demo wallet: what one does, the other shows without a reload.

The whole protocol runs in between: relay, keys server, history, cast server and Sync.
"""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE_MS

pytestmark = [pytest.mark.system, pytest.mark.browser]

expect.set_options(timeout=PATIENCE_MS)
UNREAD = re.compile("is-unread")


def open_page(page: Page, path: str) -> None:
    """Open it and wait until changes arrive by themselves."""
    page.goto(path)
    expect(page.locator("#connection")).to_have_attribute("data-state", "live")


def never_reloads(page: Page) -> None:
    """From now on a reload would be noticed."""
    page.evaluate("window.stillHere = true")


def is_still_here(page: Page) -> bool:
    return page.evaluate("window.stillHere === true")


@pytest.fixture
def two(system, window):
    """A on localhost with a new demo wallet, B on 127.0.0.1 with the key of A."""
    a, b = window(base_url=system.base_url), window()
    a.goto("/")
    a.get_by_role("link", name="Start the 2-minute demo").click()
    a.wait_for_url("**/inbox")
    expect(a.locator("#flash")).to_contain_text("Sync is on for")
    open_page(a, "/devices")
    link = a.locator("[data-join]").get_attribute("href")
    assert link.startswith(f"http://127.0.0.1:{system.port}/join#key=")
    b.goto(link)
    b.wait_for_url("**/inbox")
    assert "key=" not in b.url
    return a, b


def on_b(system, path: str) -> str:
    return f"http://127.0.0.1:{system.port}{path}"


def subscribe(a: Page) -> None:
    open_page(a, "/discover")
    a.get_by_role("link", name="Choose what Acme DAO may send").click()
    a.get_by_role("button", name="Subscribe").click()
    a.wait_for_url("**/subscriptions/attempt/*")


def send(a: Page, title: str, body: str = "Voting ends on Friday.") -> None:
    a.goto("/console/acme-dao/send")
    a.get_by_label("Title").fill(title)
    a.get_by_label("Text", exact=True).fill(body)
    a.get_by_role("button", name="Send").click()
    a.wait_for_url("**/sent/*")


def test_two_devices_stay_in_step(system, two):
    """The whole story in one run, as a person would try it."""
    a, b = two
    subscribed_in_a_is_there_in_b(system, a, b)
    c = a.context.new_page()
    sent_by_the_dapp_is_there_in_both(system, a, [b, c])
    read_in_a_is_read_in_b(a, b, c)
    archived_in_b_and_brought_back(b, c)
    switched_off_in_b_moves_the_switch_in_a(system, a, b)
    unsubscribed_in_b_is_gone_in_a(a, b)


def subscribed_in_a_is_there_in_b(system, a: Page, b: Page) -> None:
    open_page(b, on_b(system, "/subscriptions"))
    never_reloads(b)
    expect(b.locator("#subscriptions li")).to_have_count(0)
    subscribe(a)
    expect(b.locator("#subscriptions li")).to_have_count(1)
    expect(b.locator("#subscriptions")).to_contain_text("Acme DAO")
    # The twenty steps tick themselves.
    expect(a.locator('.step[data-state="done"]')).to_have_count(20)
    expect(a.get_by_role("link", name="Open the subscription")).to_be_visible()
    assert is_still_here(b)


def sent_by_the_dapp_is_there_in_both(system, a: Page, others: list[Page]) -> None:
    b, c = others
    open_page(c, "/inbox")
    open_page(b, on_b(system, "/inbox?tab=all"))
    for page in others:
        never_reloads(page)
    send(a, "Proposal 42 is open")
    for page in others:
        row = page.locator("#messages li.message")
        expect(row).to_have_count(1)
        expect(row).to_contain_text("Proposal 42 is open")
        expect(row).to_have_class(UNREAD)
        expect(page.locator("#unread-count")).to_have_text("1")
        assert is_still_here(page)


def read_in_a_is_read_in_b(a: Page, b: Page, c: Page) -> None:
    open_page(a, "/inbox")
    a.get_by_role("link", name="Proposal 42 is open").click()
    expect(b.locator("#messages li.message")).not_to_have_class(UNREAD)
    expect(b.locator("#unread-count")).to_have_text("")
    # The unread tab of A's other page loses the row.
    expect(c.locator("#messages li.message")).to_have_count(0)
    expect(c.get_by_text("Nothing unread")).to_be_visible()
    assert is_still_here(b)
    assert is_still_here(c)


def archived_in_b_and_brought_back(b: Page, c: Page) -> None:
    open_page(c, "/inbox?tab=all")
    b.locator("#messages li.message").hover()
    b.get_by_role("button", name="Archive “Proposal 42 is open”").click()
    expect(c.locator("#messages li.message")).to_have_count(0)
    b.get_by_role("button", name="Undo").click()
    expect(c.locator("#messages li.message")).to_have_count(1)
    expect(b.locator("#messages li.message")).to_have_count(1)


def switched_off_in_b_moves_the_switch_in_a(system, a: Page, b: Page) -> None:
    open_page(a, "/subscriptions")
    a.get_by_role("link", name="Acme DAO").click()
    expect(a.locator("#connection")).to_have_attribute("data-state", "live")
    never_reloads(a)
    open_page(b, on_b(system, "/subscriptions"))
    b.get_by_role("link", name="Acme DAO").click()
    b.get_by_label("alerts").uncheck()
    b.get_by_role("button", name="Save").click()
    expect(a.get_by_label("alerts")).not_to_be_checked()
    expect(a.get_by_label("proposals")).to_be_checked()
    assert is_still_here(a)


def unsubscribed_in_b_is_gone_in_a(a: Page, b: Page) -> None:
    open_page(a, "/subscriptions")
    never_reloads(a)
    expect(b.get_by_text("Waiting for the dapp to confirm")).to_have_count(0)
    b.get_by_role("button", name="Unsubscribe").click()
    expect(a.locator("#subscriptions li")).to_have_count(0)
    expect(a.get_by_text("No subscription yet")).to_be_visible()
    assert is_still_here(a)


def test_what_happened_while_away_is_there_on_coming_back(system, two):
    a, b = two
    subscribe(a)
    expect(a.locator('.step[data-state="done"]')).to_have_count(20)
    open_page(b, on_b(system, "/inbox"))
    never_reloads(b)
    b.context.set_offline(True)
    expect(b.locator("#connection")).to_have_attribute("data-state", "offline")
    for number in (1, 2, 3):
        send(a, f"Number {number}")
    b.context.set_offline(False)
    expect(b.locator("#messages li.message")).to_have_count(3)
    titles = b.locator("#messages .message__title").all_inner_texts()
    assert titles == ["Number 3", "Number 2", "Number 1"]
    assert is_still_here(b)
    # The page by events is the page by reading.
    live = b.locator("#messages").inner_html()
    b.reload()
    expect(b.locator("#messages li.message")).to_have_count(3)
    assert plain(b.locator("#messages").inner_html()) == plain(live)


def plain(html: str) -> str:
    """Markup without what scripts add: times in words, marks of htmx."""
    html = re.sub(
        r' data-(?:local|htmx-powered)="[^"]*"| title="[^"]*UTC[^"]*"', "", html
    )
    html = re.sub(r"<time[^>]*>[^<]*</time>", "<time>", html)
    return re.sub(r"\s+", " ", html).replace("> <", "><").strip()


def test_a_device_that_is_signed_out_says_which_device_did_it(system, two):
    a, b = two
    open_page(b, on_b(system, "/inbox"))
    open_page(a, "/devices")
    a.get_by_role("button", name="Sign this device out").click()
    # What it means is said first; the second press does it.
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
    never_reloads(b)
    subscribe(a)
    expect(a.locator('.step[data-state="done"]')).to_have_count(20)
    send(a, "Without a socket")
    expect(b.locator("#messages li.message")).to_contain_text("Without a socket")
    assert is_still_here(b)


def test_a_person_reads_and_unsubscribes_without_a_script(system, window, two):
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
