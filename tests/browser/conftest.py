"""A real Chromium against the whole system, started with the command of the README."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.browser.pages import TIMEOUT_MS, is_live, open_live, start_demo, subscribe
from tests.browser.reader import DESKTOP, Reader

if TYPE_CHECKING:
    from playwright.sync_api import Page

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="package")
def chromium():
    """Package-scoped: while Playwright runs, its event loop occupies the thread, and other
    tests cannot run one."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def window(chromium):
    """``window()`` is a browser profile of its own: another device."""
    contexts = []
    faults: list[str] = []

    def window(**options):
        context = chromium.new_context(
            viewport={"width": 1280, "height": 860}, **options
        )
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda line: (
                faults.append(line.text)
                if "Content Security Policy" in line.text
                else None
            ),
        )
        return page

    yield window
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture
def two(system, window):
    """A on localhost with a new demo wallet, B on 127.0.0.1 with the key of A."""
    a, b = window(base_url=system.base_url), window()
    start_demo(a)
    expect(a.locator("#flash")).to_contain_text("Sync is on for")
    open_live(a, "/devices")
    link = a.locator("[data-join]").get_attribute("href")
    assert link.startswith(f"http://127.0.0.1:{system.port}/join#key=")
    b.goto(link)
    b.wait_for_url("**/inbox")
    assert "key=" not in b.url
    return a, b


@pytest.fixture(scope="module")
def reader(system, chromium):
    context = chromium.new_context(base_url=system.base_url)
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    start_demo(page)
    subscribe(page)
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
