"""The inbox in a browser: keyboard, scroll position, counts and connection status."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.flood import WIDE
from tests.browser.pages import TIMEOUT_MS, is_live
from tests.browser.reader import DESKTOP, PHONE, ROWS, TABLET, place_of, titles

pytestmark = [pytest.mark.system, pytest.mark.browser]

expect.set_options(timeout=TIMEOUT_MS)
UNREAD = re.compile("is-unread")
LIST = re.compile(r"/inbox\?")
DETAIL = ".inbox__detail"
SETTLE_MS = 300


def row_of(page, number: int):
    return page.locator(ROWS).nth(number)


def is_focused(page, number: int) -> None:
    expect(row_of(page, number).locator(".row__link")).to_be_focused()


# --- keys -----------------------------------------------------------------------------


def test_keys_change_nothing_while_no_message_is_focused_or_open(reader, open_page):
    reader.receives(3, fresh=True)
    page = open_page("/inbox")
    asked = []
    page.on("request", lambda request: asked.append(request.method))
    for key in ("e", "y", "Enter", "u"):
        page.keyboard.press(key)
    page.wait_for_timeout(SETTLE_MS)
    assert "POST" not in asked
    assert titles(page) == ["00002", "00001", "00000"]
    expect(page.locator(f"{ROWS}.is-unread")).to_have_count(3)


def test_keys_act_on_the_focused_row(reader, open_page):
    reader.receives(4, fresh=True)
    page = open_page("/inbox?tab=all")
    page.keyboard.press("j")
    is_focused(page, 0)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    is_focused(page, 1)
    page.keyboard.press("e")
    expect(row_of(page, 1)).not_to_have_class(UNREAD)
    is_focused(page, 1)
    page.keyboard.press("e")
    expect(row_of(page, 1)).to_have_class(UNREAD)
    page.keyboard.press("y")
    expect(page.locator(ROWS)).to_have_count(3)
    assert titles(page) == ["00003", "00001", "00000"]
    # The next row takes its place.
    is_focused(page, 1)
    page.keyboard.press("u")
    expect(page.locator(ROWS)).to_have_count(4)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.locator(f"{DETAIL} h2")).to_be_visible()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_keys_act_on_the_open_message(reader, open_page, size):
    reader.receives(4, fresh=True)
    page = open_page("/inbox?tab=all", size)
    row_of(page, 2).locator(".row__link").click()
    detail = page.locator(DETAIL)
    expect(detail.locator("h2")).to_contain_text("00001")
    expect(row_of(page, 2)).not_to_have_class(UNREAD)
    page.keyboard.press("e")
    expect(row_of(page, 2)).to_have_class(UNREAD)
    expect(detail.get_by_role("button", name="Mark as read")).to_be_visible()
    page.keyboard.press("y")
    expect(page.locator(ROWS)).to_have_count(3)
    assert titles(page) == ["00003", "00002", "00000"]
    # What was put away is left: back in the list, at the row that took its place.
    expect(detail).to_have_count(0)
    is_focused(page, 2)


def test_question_mark_opens_the_list_of_keys_and_escape_closes_it(reader, open_page):
    reader.receives(2, fresh=True)
    page = open_page("/inbox?tab=all")
    keys = page.get_by_role("dialog", name="Keyboard shortcuts")
    page.keyboard.press("?")
    expect(keys).to_be_visible()
    page.keyboard.press("y")
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()
    expect(page.locator(ROWS)).to_have_count(2)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator(DETAIL)).to_be_visible()
    page.keyboard.press("?")
    page.keyboard.press("Escape")
    expect(page.locator(DETAIL)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(DETAIL)).to_have_count(0)
    is_focused(page, 0)
    # The same list without a key.
    page.get_by_role("button", name="Accounts and settings", exact=True).click()
    page.get_by_role("button", name="Keyboard shortcuts").click()
    expect(keys).to_be_visible()
    keys.get_by_role("button", name="Close").click()
    expect(keys).to_be_hidden()


def test_keys_are_letters_in_a_field(reader, open_page):
    reader.receives(2, fresh=True)
    page = open_page("/inbox?tab=all")
    page.keyboard.press("/")
    field = page.get_by_role("searchbox")
    expect(field).to_be_focused()
    page.keyboard.type("yejk?gi")
    expect(field).to_have_value("yejk?gi")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator(ROWS)).to_have_count(2)
    page.keyboard.press("Escape")
    expect(field).not_to_be_focused()


def test_g_and_a_letter_go_to_a_section(open_page):
    page = open_page("/inbox")
    for letter, path in (
        ("s", "subscriptions"),
        ("d", "discover"),
        ("v", "devices"),
        ("c", "console"),
        ("i", "inbox"),
    ):
        page.keyboard.press("g")
        page.keyboard.press(letter)
        page.wait_for_url(f"**/{path}")


def test_single_keys_can_be_turned_off(reader, open_page):
    reader.receives(2, fresh=True)
    page = open_page("/settings")
    page.get_by_label("Off").check(force=True)
    page.get_by_role("button", name="Save", exact=True).click()
    page.goto("/inbox?tab=all")
    is_live(page)
    row_of(page, 0).locator(".row__link").focus()
    for key in ("y", "e", "?", "j"):
        page.keyboard.press(key)
    page.wait_for_timeout(SETTLE_MS)
    is_focused(page, 0)
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator(f"{ROWS}.is-unread")).to_have_count(2)
    # Moving through the list does not need them.
    page.keyboard.press("ArrowDown")
    is_focused(page, 1)


def test_the_list_is_one_stop_of_the_tab_key(reader, open_page):
    reader.receives(5, fresh=True)
    page = open_page("/inbox?tab=all")
    stops = page.locator(f"{ROWS} .row__link[tabindex='0']")
    others = page.locator(f"{ROWS} :is(a, button, input):not([tabindex='-1']):visible")
    expect(stops).to_have_count(1)
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(stops).to_have_count(1)
    expect(stops).to_be_focused()
    # The link, the check box and the three actions of the current row.
    expect(others).to_have_count(5)
    reader.receives(2, tag="new")
    expect(page.locator(ROWS)).to_have_count(7)
    expect(stops).to_have_count(1)
    expect(stops).to_be_focused()
    is_focused(page, 3)


# --- places ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [DESKTOP, TABLET, PHONE], ids=["1280", "900", "390"])
def test_opening_keeps_tab_filters_pages_and_place(reader, open_page, size):
    reader.receives(150, fresh=True)
    page = open_page("/inbox?tab=unread&type=alerts", size)
    page.get_by_role("link", name="Load older").click()
    expect(page.locator(ROWS)).to_have_count(120)
    chosen = row_of(page, 100)
    chosen.scroll_into_view_if_needed()
    selector = "#" + chosen.get_attribute("id")
    before = place_of(page, selector)
    chosen.locator(".row__link").click()
    expect(page.locator(f"{DETAIL} h2")).to_be_in_viewport()
    assert "tab=unread" in page.url
    assert "type=alerts" in page.url
    back = page.get_by_role("link", name="Back to the list")
    if size is DESKTOP:
        assert abs(place_of(page, selector) - before) < 2
    else:
        expect(page.locator("#messages")).to_be_hidden()
        expect(back).to_be_in_viewport()
    # Read by opening, and still where it was.
    expect(page.locator(selector)).not_to_have_class(UNREAD)
    expect(page.locator("#unread-count")).to_have_text("149")
    for leave in (back.click, page.go_back, lambda: page.keyboard.press("Escape")):
        leave()
        expect(page.locator(DETAIL)).to_have_count(0)
        expect(page).to_have_url(LIST)
        expect(page.locator(ROWS)).to_have_count(120)
        expect(page.locator(f"{selector} .row__link")).to_be_focused()
        assert abs(place_of(page, selector) - before) < 2
        page.locator(f"{selector} .row__link").click()
        expect(page.locator(f"{DETAIL} h2")).to_be_in_viewport()
    # The address holds it all: the same after loading it.
    page.reload()
    expect(page.locator(f"{DETAIL} h2")).to_be_visible()
    back.click()
    expect(page).to_have_url(LIST)
    expect(page.locator(ROWS)).to_have_count(120)
    expect(page.locator('.tabs [aria-current="page"]')).to_contain_text("Unread")


def test_without_a_script_a_message_leads_back_to_its_list(reader, open_page, window):
    reader.receives(90, fresh=True)
    page = window(
        base_url=reader.origin, storage_state=reader.state, java_script_enabled=False
    )
    page.set_viewport_size(PHONE)
    page.goto("/inbox?tab=all&type=alerts")
    page.get_by_role("link", name="Load older").click()
    row_of(page, 5).locator(".row__link").click()
    page.get_by_role("link", name="Back to the list").click()
    assert "tab=all" in page.url
    assert "type=alerts" in page.url
    assert titles(page)[0] == "00029"
    expect(row_of(page, 5)).to_be_in_viewport()


def test_older_notifications_are_appended_until_the_end(reader, open_page):
    reader.receives(150, fresh=True)
    page = open_page("/inbox?tab=all")
    page.get_by_role("link", name="Load older").focus()
    page.keyboard.press("Enter")
    expect(page.locator(ROWS)).to_have_count(120)
    expect(page.get_by_role("link", name="Load older")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(ROWS)).to_have_count(150)
    expect(page.get_by_role("link", name="Load older")).to_have_count(0)
    is_focused(page, 120)
    assert titles(page) == [f"{number:05d}" for number in reversed(range(150))]
    expect(page.locator("#messages .day")).to_have_count(1)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_what_is_read_does_not_move_when_more_arrives(reader, open_page, size):
    reader.receives(60, fresh=True)
    page = open_page("/inbox?tab=all", size)
    chosen = row_of(page, 30)
    chosen.scroll_into_view_if_needed()
    selector = "#" + chosen.get_attribute("id")
    before = place_of(page, selector)
    for number in (1, 7, 60):
        reader.receives(number, WIDE, tag=f"new{number}-")
        expect(page.locator(ROWS).first).to_contain_text(
            f"new{number}-{number - 1:05d}"
        )
        assert abs(place_of(page, selector) - before) < 2
    # The open message stays as well.
    page.locator(f"{selector} .row__link").click()
    heading = page.locator(f"{DETAIL} h2")
    expect(heading).to_be_in_viewport()
    where = place_of(page, f"{DETAIL} h2")
    reader.receives(5, tag="after")
    expect(page.locator(ROWS)).to_have_count(60 + 1 + 7 + 60 + 5)
    assert abs(place_of(page, f"{DETAIL} h2") - where) < 2
    page.keyboard.press("Escape")
    assert abs(place_of(page, selector) - before) < 2


def test_at_the_top_new_rows_are_visible(reader, open_page):
    reader.receives(30, fresh=True)
    page = open_page("/inbox?tab=all")
    reader.receives(1, tag="new")
    expect(row_of(page, 0)).to_contain_text("new00000")
    expect(row_of(page, 0)).to_be_in_viewport()
    expect(page.locator("#arrivals")).to_be_hidden()


# --- numbers --------------------------------------------------------------------------


def agree(page, count: str) -> None:
    expect(page.locator("#unread-count")).to_have_text(count)
    expect(page.locator("#unread-tab-count")).to_have_text(count)
    expect(page).to_have_title(
        f"({count}) Inbox · Notifyweb" if count else "Inbox · Notifyweb"
    )


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_all_unread_numbers_agree(reader, open_page, size):
    reader.receives(3, fresh=True)
    page, other = open_page("/inbox", size), open_page("/subscriptions", size)
    agree(page, "3")
    reader.receives(2, tag="new")
    agree(page, "5")
    expect(page.locator(f"{ROWS}.is-unread")).to_have_count(5)
    expect(other.locator("#unread-count")).to_have_text("5")
    expect(other.locator("#subscriptions .count")).to_have_text("5")
    expect(other).to_have_title("(5) Subscriptions · Notifyweb")
    row_of(page, 1).locator(".row__link").click()
    agree(page, "4")
    expect(other).to_have_title("(4) Subscriptions · Notifyweb")
    expect(other.locator("#subscriptions .count")).to_have_text("4")
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    agree(page, "5")
    page.keyboard.press("y")
    agree(page, "4")
    page.reload()
    agree(page, "4")
    expect(page.locator(f"{ROWS}.is-unread")).to_have_count(4)


def test_more_than_999_are_one_number(reader, open_page):
    reader.receives(999, fresh=True)
    page, other = open_page("/inbox"), open_page("/subscriptions")
    agree(page, "999")
    reader.receives(2, tag="new")
    agree(page, "999+")
    expect(other.locator("#subscriptions .count")).to_have_text("999+")
    page.reload()
    agree(page, "999+")


# --- states ---------------------------------------------------------------------------


def test_a_new_page_does_not_show_connecting(open_page, window, reader):
    """Not in its first second, and never if it is connected by then."""
    page = window(base_url=reader.origin, storage_state=reader.state)
    page.add_init_script("""
      window.chipStates = [];
      // Frames, not changes: nothing is painted before the style sheets are there.
      requestAnimationFrame(function look() {
        const chip = document.getElementById("connection");
        const seen = chip && chip.checkVisibility({ visibilityProperty: true });
        if (seen && chip.textContent !== chipStates.at(-1)) chipStates.push(chip.textContent);
        requestAnimationFrame(look);
      });
    """)
    page.goto("/inbox")
    is_live(page)
    painted = (
        "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    page.evaluate(painted)
    assert page.evaluate("chipStates") == ["Live"]
    # Without a connection it is shown after a second.
    page.route_web_socket("**/ws/device/", lambda line: None)
    page.goto("/inbox")
    chip = page.locator("#connection")
    expect(chip).to_be_hidden()
    expect(chip).to_have_text("Connecting…")
    expect(chip).to_be_visible()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_offline_reading_works_and_changes_are_off(reader, open_page, size):
    reader.receives(40, fresh=True)
    page = open_page("/inbox?tab=all", size)
    chosen = row_of(page, 20)
    chosen.scroll_into_view_if_needed()
    selector = "#" + chosen.get_attribute("id")
    before = place_of(page, selector)
    page.context.set_offline(True)
    line = page.locator("#offline")
    expect(line).to_have_text("You are offline. Reading works; changes are off.")
    expect(line).to_be_in_viewport()
    assert abs(place_of(page, selector) - before) < 2
    buttons = page.locator("form:not([method=dialog]) button:not([type=button])")
    off = page.locator('[aria-disabled="true"][aria-describedby="offline"]')
    expect(off).to_have_count(buttons.count())
    page.locator(f"{selector} .row__link").focus()
    page.keyboard.press("y")
    expect(page.locator("#status")).to_contain_text("changes are off")
    expect(page.locator(ROWS)).to_have_count(40)
    page.context.set_offline(False)
    expect(line).to_be_hidden()
    expect(off).to_have_count(0)
    is_live(page)
    page.keyboard.press("y")
    expect(page.locator(ROWS)).to_have_count(39)


def test_the_whole_first_page_is_below_its_budget(reader, window):
    """120 kB for everything, 60 kB of scripts: ux budgets, as transferred."""
    reader.receives(60, WIDE, fresh=True)
    # Its cache is empty.
    page = window(base_url=reader.origin, storage_state=reader.state)
    page.set_viewport_size(DESKTOP)
    sizes: dict[str, int] = {}

    def note(request):
        sizes[request.url] = request.sizes()["responseBodySize"]

    page.on("requestfinished", note)
    page.goto("/inbox")
    is_live(page)
    expect(page.locator(ROWS)).to_have_count(60)
    assert min(sizes.values()) >= 0, "some came from the cache"
    scripts = sum(size for url, size in sizes.items() if url.endswith(".js"))
    assert 0 < scripts <= 60_000
    assert sum(sizes.values()) <= 120_000


# --- whole lists ----------------------------------------------------------------------


def test_all_are_marked_as_read_in_other_windows_and_undone(reader, open_page):
    reader.receives(70, fresh=True)
    page, other = open_page("/inbox"), open_page("/inbox?tab=all")
    page.get_by_role("button", name="Mark all read").click()
    expect(page.locator(ROWS)).to_have_count(0)
    expect(other.locator(f"{ROWS}.is-unread")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(ROWS)).to_have_count(60)
    expect(other.locator(f"{ROWS}.is-unread")).to_have_count(60)


def test_keys_read_up_to_a_row_and_delete_it(reader, open_page):
    reader.receives(5, fresh=True)
    page, other = open_page("/inbox"), open_page("/inbox?tab=all")
    for key in "jjr":
        page.keyboard.press(key)
    expect(page.locator(ROWS)).to_have_count(1)
    expect(other.locator(f"{ROWS}.is-unread")).to_have_count(1)
    page.keyboard.press("u")
    expect(page.locator(ROWS)).to_have_count(5)
    page.keyboard.press("j")
    page.keyboard.press("d")
    expect(page.get_by_text("Deleted.")).to_be_visible()
    expect(page.locator(ROWS)).to_have_count(4)
    expect(other.locator(ROWS)).to_have_count(4)
    page.keyboard.press("u")
    expect(page.locator(ROWS)).to_have_count(5)
    expect(other.locator(ROWS)).to_have_count(5)


def test_several_are_chosen_and_deleted_by_touch(reader, open_page):
    reader.receives(4, fresh=True)
    page = open_page("/inbox?q=0000", PHONE, has_touch=True, is_mobile=True)
    row_of(page, 1).locator(".message__pick").tap()
    row_of(page, 2).locator(".message__pick").tap()
    # The bar is above the navigation, and a row has most of its width for the text.
    bar, navigation = (page.locator(each).bounding_box() for each in ("#bulk", ".rail"))
    assert bar["y"] + bar["height"] <= navigation["y"] + 1
    row, text = (
        row_of(page, 1).locator(each).bounding_box()
        for each in ("xpath=.", ".message__body")
    )
    assert text["width"] > 0.7 * row["width"]
    page.locator("#bulk").get_by_role("button", name="Delete").tap()
    expect(page.locator(ROWS)).to_have_count(2)
    # The list of a text search takes no new rows, but those that an undo returns.
    page.get_by_role("button", name="Undo").tap()
    expect(page.locator(ROWS)).to_have_count(4)
    page.get_by_label("Select all").tap()
    expect(page.locator("[name=chosen]:checked")).to_have_count(4)
    row_of(page, 0).get_by_role("button", name="More for").tap()
    menu = page.locator(":popover-open")
    menu.get_by_role("button", name="Read up to here").tap()
    expect(menu).to_have_count(0)
    expect(page.locator(f"{ROWS}.is-unread")).to_have_count(0)


def test_a_row_is_snoozed_from_the_shared_menu_by_keys_and_returns_by_undo(
    reader, open_page
):
    reader.receives(3, fresh=True)
    page, other = open_page("/inbox?tab=all"), open_page("/inbox?tab=all")
    menu = page.locator("#row-menu")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("b")
    expect(menu).to_be_visible()
    expect(menu).to_contain_text("00001")
    expect(menu.get_by_role("button").first).to_be_focused()
    expect(menu.get_by_role("button", name="Return to the inbox now")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    # The same menu for another row, by pointer; its button closes it again.
    more = row_of(page, 2).get_by_role("button", name="More for")
    for is_open in (True, False, True):
        more.click()
        expect(menu).to_be_visible(visible=is_open)
    expect(menu).to_contain_text("00000")
    menu.get_by_role("button", name="1 hour").click()
    expect(page.locator(ROWS)).to_have_count(2)
    expect(other.locator(ROWS)).to_have_count(2)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(ROWS)).to_have_count(3)
    expect(other.locator(ROWS)).to_have_count(3)
