"""Draws the icons of the installed app from ``static/mark.svg``: ``python -m tests.make_icons``."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

STATIC = Path(__file__).resolve().parent.parent / "static"
# A maskable icon may lose a fifth on each side to the platform's mask.
PADDING = {"any": 0.06, "maskable": 0.22}


def main() -> None:
    mark = (STATIC / "mark.svg").read_text(encoding="utf-8")
    (STATIC / "icons").mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for purpose, padding in PADDING.items():
            for size in (192, 512):
                page = browser.new_page(viewport={"width": size, "height": size})
                background = "#fff" if purpose == "maskable" else "transparent"
                page.set_content(
                    f"<body style='margin:0;background:{background}'>"
                    f"<div style='padding:{round(size * padding)}px'>{mark}</div>"
                )
                page.screenshot(
                    path=STATIC / "icons" / f"{purpose}-{size}.png",
                    omit_background=True,
                )
        browser.close()


if __name__ == "__main__":
    main()
