"""``python -m tests.browser.pictures [folder]``: pictures of every page, to look at.

Three widths, light and dark, and German for the length of its words. ``make screenshots``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect, sync_playwright

from tests.browser.conftest import FLAGS
from tests.browser.every_page import settle
from tests.browser.pages import TIMEOUT_MS, start_demo
from tests.system import BASE, System

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = BASE / ".data-screenshots"
WIDTHS = (390, 768, 1280)
LOOKS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "german": {"locale": "de-DE"},
}
HEIGHT = 860


# Of a stranger, and of a person who has just signed in: what is empty, too.
STRANGER = ("/", "/signin", "/join", "/dapps/acme-dao")
NEW = ("/inbox", "/inbox?tab=all", "/subscriptions", "/discover", "/sync", "/console")


def photograph(system: System, folder: Path) -> int:
    """Returns how many pictures were made."""
    expect.set_options(timeout=TIMEOUT_MS)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    number = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)

        def look_at(paths: Sequence[str], cookies: Any, prefix: str) -> int:
            made = 0
            for look, options in LOOKS.items():
                context = browser.new_context(base_url=system.base_url, **options)
                context.add_cookies(cookies)
                page = context.new_page()
                for place, path in enumerate(paths):
                    page.goto(path)
                    short = path.removeprefix(system.base_url).strip("/") or "first"
                    name = "".join(each if each.isalnum() else "-" for each in short)
                    for width in WIDTHS:
                        page.set_viewport_size({"width": width, "height": HEIGHT})
                        file = f"{prefix}{place:02d}-{name[:60]}-{look}-{width}.png"
                        page.screenshot(path=folder / file, full_page=True)
                        made += 1
                context.close()
            return made

        number += look_at(STRANGER, [], "stranger-")
        context = browser.new_context(base_url=system.base_url)
        context.set_default_timeout(TIMEOUT_MS)
        page = context.new_page()
        start_demo(page)
        number += look_at(NEW, context.cookies(), "new-")
        number += look_at(settle(system, page), context.cookies(), "")
        browser.close()
    return number


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    system = System()
    try:
        number = photograph(system.start(), folder)
    finally:
        system.remove()
    sys.stdout.write(f"{number} pictures are in {folder}\n")


if __name__ == "__main__":
    main()
