"""The browser's socket against the real web server: sizes, close codes, and "Live"."""

from __future__ import annotations

import contextlib
import json
import signal

import pytest
from playwright.sync_api import expect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from dashboard.consumers import SLOW, TOO_MANY
from notifyweb.web import FRAME_BYTES
from tests.browser.flood import ESCAPED, PLAIN, WIDE
from tests.browser.pages import TIMEOUT_MS, is_live
from tests.browser.reader import ROWS, place_of, titles

pytestmark = [pytest.mark.system, pytest.mark.browser]

expect.set_options(timeout=TIMEOUT_MS)
PATIENCE_S = 60
# Together more than may stay unacknowledged, one by one less than makes a page reload.
PART, PARTS = 400, 3
# Records the newest row each time the status becomes "Live".
WATCH_CHIP = """() => {
  window.liveWith = [];
  const chip = document.getElementById("connection");
  new MutationObserver(() => {
    if (chip.dataset.state === "live")
      liveWith.push(document.querySelector("#messages .message__title").textContent);
  }).observe(chip, { attributeFilter: ["data-state"] });
}"""


def line_of(reader):
    return connect(
        reader.origin.replace("http", "ws") + "/ws/device/",
        origin=reader.origin,
        additional_headers={"Cookie": reader.cookie},
        open_timeout=PATIENCE_S,
        max_size=FRAME_BYTES,
    )


def cursor_of(page) -> dict:
    data = page.evaluate("({ ...document.body.dataset })")
    return {
        "type": "resume",
        "generation": data["generation"],
        "sequence": int(data["sequence"]),
    }


def close_code(line) -> int:
    # Iterating ends without an error on a normal close, and raises on any other.
    with contextlib.suppress(ConnectionClosed):
        for _ in line:
            pass
    assert line.close_code is not None
    return line.close_code


@pytest.mark.parametrize(
    "text", [PLAIN, ESCAPED, WIDE], ids=["plain", "escaped", "wide"]
)
@pytest.mark.parametrize("number", [10, 100, 480])
def test_missed_messages_arrive_in_frames_that_the_server_sends(
    reader, open_page, number, text
):
    cursor = cursor_of(open_page("/inbox"))
    reader.receives(number, text, fresh=True)
    with line_of(reader) as line:
        line.send(json.dumps(cursor))
        rows, sequence = 0, cursor["sequence"]
        while rows < number:
            frame = json.loads(line.recv(timeout=PATIENCE_S))
            if frame["type"] == "heartbeat":
                continue
            assert frame["type"] == "events", frame
            assert frame["after"] == sequence
            sequence = frame["head"]
            rows += sum(each["html"].count("<li ") for each in frame["frames"])
            line.send(json.dumps({"type": "ack", "sequence": sequence}))
        assert frame["newest"] == sequence
        assert rows == number


@pytest.mark.parametrize("number", [1_000, 10_000])
def test_far_behind_is_answered_with_refetch(reader, open_page, number):
    cursor = cursor_of(open_page("/inbox"))
    reader.receives(number, WIDE, fresh=True)
    with line_of(reader) as line:
        line.send(json.dumps(cursor))
        frame = json.loads(line.recv(timeout=PATIENCE_S))
        assert frame["type"] == "refetch"
        assert frame["head"] == cursor["sequence"] + number


@pytest.mark.parametrize("number", [10, 100, 1_000, 10_000])
@pytest.mark.parametrize("deep", [False, True], ids=["at the top", "further down"])
def test_live_means_that_nothing_is_missing(reader, open_page, number, deep):
    reader.receives(90, tag="old", fresh=True)
    page = open_page("/inbox?tab=all")
    read = page.locator(ROWS).nth(40)
    if deep:
        read.scroll_into_view_if_needed()
        read = "#" + read.get_attribute("id")
        before = place_of(page, read)
    page.context.set_offline(True)
    expect(page.locator("#connection")).to_have_attribute("data-state", "offline")
    page.evaluate(WATCH_CHIP)
    reader.receives(number, WIDE, tag="new")
    page.context.set_offline(False)
    count = "999+" if number > 999 else str(number)
    expect(page.locator("#arrivals")).to_have_text(f"{count} new while you were away")
    is_live(page)
    if deep:
        assert abs(place_of(page, read) - before) < 2
        page.locator("[data-arrivals]").click()
        expect(page.locator("#arrivals")).to_be_hidden()
    newest = f"new{number - 1:05d}"
    expect(page.locator(f"{ROWS} .message__title").first).to_contain_text(newest)
    assert page.evaluate("scrollY") == 0
    if not deep:
        assert page.evaluate("liveWith.map(each => each.split(' ')[0])") == [newest]
    expect(page.locator("#unread-count")).to_have_text(
        "999+" if number + 90 > 999 else str(number + 90)
    )
    # As a page that was loaded now.
    shown = titles(page)[:60]
    page.reload()
    assert titles(page) == shown


def test_live_is_not_shown_while_the_heartbeat_names_a_newer_event(reader, open_page):
    """The server announces events and sends none: the status shows it, then recovers."""
    reader.receives(3, fresh=True)
    page = open_page("/inbox")
    server = []

    def relay(line):
        upstream = line.connect_to_server()
        server.append(line)
        line.on_message(upstream.send)
        upstream.on_message(
            lambda text: (
                None if '"events"' in text and len(server) == 1 else line.send(text)
            )
        )

    page.route_web_socket("**/ws/device/", relay)
    page.goto("/inbox")
    is_live(page)
    reader.receives(1, tag="late")
    data = cursor_of(page)
    server[0].send(
        json.dumps(
            {
                "type": "heartbeat",
                "head": data["sequence"] + 1,
                "generation": data["generation"],
            }
        )
    )
    expect(page.locator("#connection")).to_have_text("Catching up…")
    # Asking again brings nothing on this connection; the next one does.
    expect(page.locator(ROWS).first).to_contain_text("late00000", timeout=60_000)
    is_live(page)
    assert len(server) > 1


def test_close_codes_reach_the_browser(reader, open_page):
    cursor = cursor_of(open_page("/inbox"))
    with line_of(reader) as line:
        line.send("nonsense")
        assert close_code(line) == 4400
    with line_of(reader) as line:
        for _ in range(700):
            line.send(json.dumps({"type": "ack", "sequence": 1}))
        assert close_code(line) == 4429
    with line_of(reader) as line:
        line.send(json.dumps(cursor))
        assert json.loads(line.recv(timeout=PATIENCE_S))["type"] == "heartbeat"
        old = reader.system.kill("web", signal.SIGTERM)
        assert close_code(line) == 1001
    reader.system.wait_until_back("web", old)


def closed_by_server(reader, cursor) -> int:
    """The code with which the server closes a socket that acknowledges nothing."""
    with line_of(reader) as line:
        line.send(json.dumps(cursor))
        for part in range(PARTS):
            reader.receives(PART, PLAIN, tag=f"slow{part}")
            rows = 0
            with contextlib.suppress(ConnectionClosed):
                # Further behind, the page would be reloaded instead.
                while rows < PART:
                    frame = json.loads(line.recv(timeout=PATIENCE_S))
                    assert frame["type"] in {"events", "heartbeat"}
                    rows += str(frame.get("frames")).count("<li ")
        return close_code(line)


def test_a_reader_that_acknowledges_nothing_is_closed_as_slow(reader, open_page):
    cursor = cursor_of(open_page("/inbox"))
    assert closed_by_server(reader, cursor) == SLOW


@pytest.mark.parametrize("code", [SLOW, TOO_MANY])
def test_a_closed_page_resumes_without_a_gap(reader, open_page, code):
    """The first socket loses its acknowledgements, or sends a flood of them. What arrives
    before, while it is closed and afterwards is on the page, once each."""
    reader.receives(3, fresh=True)
    page = open_page("/inbox?tab=all")
    sockets, closed = [], []

    def relay(line):
        server = line.connect_to_server()
        is_first = not sockets
        sockets.append(server)

        def to_server(text):
            if not (is_first and code == SLOW and '"ack"' in text):
                server.send(text)

        def close(status, reason):
            closed.append(status)
            # While the page has no socket.
            reader.receives(5, PLAIN, tag="gap")
            line.close(code=status, reason=reason)

        line.on_message(to_server)
        server.on_message(line.send)
        server.on_close(close)

    page.route_web_socket("**/ws/device/", relay)
    page.goto("/inbox?tab=all")
    is_live(page)
    first_row = page.locator(ROWS).first
    if code == SLOW:
        # Unacknowledged for half a minute; the heartbeat after it closes the socket.
        reader.receives(1, PLAIN, tag="unacknowledged")
    else:
        for _ in range(700):
            sockets[0].send(json.dumps({"type": "ack", "sequence": 1}))
    expect(first_row).to_contain_text("gap00004", timeout=2 * PATIENCE_S * 1000)
    is_live(page)
    assert closed == [code]
    assert len(sockets) == 2
    reader.receives(1, PLAIN, tag="after")
    expect(first_row).to_contain_text("after00000")
    shown = titles(page)
    assert len(shown) == len(set(shown))
    page.reload()
    assert titles(page)[:60] == shown[:60]
