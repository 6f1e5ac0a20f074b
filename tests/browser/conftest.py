"""A real Chromium against the whole system, started as a person starts it."""

from __future__ import annotations

import shutil

import pytest
from playwright.sync_api import sync_playwright

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
PATIENCE_MS = 30_000


@pytest.fixture(scope="package")
def chromium():
    """Ended with this package: while Playwright runs, its event loop is the thread's,
    and no other test can run one of its own."""
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
        context.set_default_timeout(PATIENCE_MS)
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
