"""``python -m tests.browser.screenshots``: renews the pictures of the README.

Starts a whole system, subscribes a demo wallet to two dapps, sends notifications and
photographs the inbox in light and dark.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.conftest import FLAGS
from tests.browser.pages import TIMEOUT_MS, start_demo
from tests.system import BASE, System

if TYPE_CHECKING:
    from pathlib import Path

expect.set_options(timeout=TIMEOUT_MS)
IMAGES = BASE / "docs" / "images"
SIZE = {"width": 1200, "height": 620}
EXCHANGE = ("Harbor Exchange", "trades: A trade was filled", "security: A new sign-in")
# Oldest first: dapp, type, title, text.
NOTIFICATIONS = (
    ("Harbor Exchange", "security", "New sign-in", "Firefox on Linux, just now."),
    (
        "Acme DAO",
        "proposals",
        "Proposal 41 has passed",
        "62 % voted for the new treasury.",
    ),
    ("Harbor Exchange", "trades", "Order filled", "Bought 0.5 ETH at 3,120 USDC."),
    (
        "Acme DAO",
        "alerts",
        "Voting ends in 24 hours",
        "You have not voted on proposal 42.",
    ),
    ("Harbor Exchange", "trades", "Price alert", "ETH is above 3,200 USDC."),
    (
        "Acme DAO",
        "proposals",
        "Proposal 42 is open",
        "Voting ends on Friday. Quorum is 10 %.",
    ),
)


# Steps 19 and 20 need a second device.
STEPS = 18


def subscribe(page: Page, dapp: str) -> None:
    page.goto("/discover")
    page.get_by_role("link", name=f"Choose what {dapp} may send").click()
    page.get_by_role("button", name="Subscribe").click()
    page.wait_for_url("**/subscriptions/attempt/*")
    expect(page.locator('.step[data-state="done"]')).to_have_count(STEPS)


def photograph(system: System, folder: Path) -> None:
    name, *types = EXCHANGE
    options = [part for each in types for part in ("--type", each)]
    made = json.loads(system.manage("create_project", name, *options, "--json").stdout)
    projects = {name: made["project_id"]}
    listed = system.manage(
        "shell",
        "-c",
        "from castserver.models import Project;"
        "print(Project.objects.get(slug='acme-dao').pk)",
    )
    projects["Acme DAO"] = listed.stdout.split()[-1]
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        context = browser.new_context(base_url=system.base_url, viewport=SIZE)
        context.set_default_timeout(TIMEOUT_MS)
        page = context.new_page()
        start_demo(page)
        for dapp in projects:
            subscribe(page, dapp)
        page.goto("/inbox?tab=all")
        for count, (dapp, kind, title, body) in enumerate(NOTIFICATIONS, start=1):
            system.manage(
                "notify",
                projects[dapp],
                "--type",
                kind,
                "--title",
                title,
                "--body",
                body,
            )
            expect(page.locator("#messages > [data-row]")).to_have_count(count)
        for title in ("New sign-in", "Order filled"):
            page.get_by_role("link", name=title).click()
            page.goto("/inbox?tab=all")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            expect(page.locator("#connection")).to_have_attribute("data-state", "live")
            page.screenshot(path=folder / f"inbox-{scheme}.png")
        browser.close()


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    system = System()
    try:
        photograph(system.start(), IMAGES)
    finally:
        system.remove()


if __name__ == "__main__":
    main()
