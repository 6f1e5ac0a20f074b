"""Alerts in a real browser: the forms, and a service worker that receives pushes."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser.pages import TIMEOUT_MS
from tests.browser.reader import DESKTOP, PHONE

expect.set_options(timeout=TIMEOUT_MS)

pytestmark = [pytest.mark.system, pytest.mark.browser]

READY = "navigator.serviceWorker.ready.then((found) => found.scope)"
SHOWN = """async () => {
  const registration = await navigator.serviceWorker.ready;
  return (await registration.getNotifications()).map((each) => [each.title, each.body]);
}"""


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_quiet_hours_are_kept(open_page, size):
    page = open_page("/settings", size)
    page.get_by_label("Quiet every night").check()
    page.get_by_label("From").fill("21:30")
    page.get_by_label("Until").fill("06:15")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_role("button", name="Save quiet hours").click()
    expect(page.get_by_text("Quiet hours were saved.").first).to_be_visible()
    page.reload()
    expect(page.get_by_label("From")).to_have_value("21:30")
    expect(page.get_by_label("Until")).to_have_value("06:15")
    expect(page.get_by_label("Quiet every night")).to_be_checked()


def test_a_forward_that_cannot_be_called_is_refused_with_its_reason(open_page):
    page = open_page("/settings")
    page.get_by_text("Add a forward").first.click()
    page.get_by_role("radio", name="Webhook (JSON)").check(force=True)
    page.get_by_label("Address").fill("https://10.0.0.1/in")
    page.get_by_role("button", name="Add the forward").click()
    expect(page.get_by_text("Not added: the host is not on the public")).to_be_visible()


def test_a_dapp_is_muted_and_unmuted(open_page, reader):
    page = open_page(f"/subscriptions/{reader.topic}")
    page.get_by_role("button", name="8 hours").click()
    expect(page.get_by_text(re.compile("muted until"))).to_be_visible()
    # A live update of the page does not take the confirmation away.
    with page.expect_response(f"**/subscriptions/{reader.topic}"):
        page.locator("[data-refetch]").evaluate("each => each.click()")
    page.wait_for_timeout(300)
    expect(page.locator("#flash")).to_contain_text("Muted: Acme DAO.")
    page.get_by_role("button", name="Unmute").click()
    expect(page.get_by_text(re.compile("muted until"))).to_have_count(0)


def test_the_service_worker_shows_and_withdraws_what_is_pushed(
    reader,
    open_page,
):
    page = open_page("/settings")
    page.context.grant_permissions(["notifications"], origin=reader.origin)
    session = page.context.new_cdp_session(page)
    session.send("ServiceWorker.enable")
    found = []
    session.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda event: found.extend(event["registrations"]),
    )
    page.evaluate("navigator.serviceWorker.register('/sw.js')")
    assert page.evaluate(READY) == f"{reader.origin}/"
    registration = found[-1]["registrationId"]

    def push(**message):
        session.send(
            "ServiceWorker.deliverPushMessage",
            {
                "origin": reader.origin,
                "registrationId": registration,
                "data": json.dumps(message),
            },
        )

    show = {
        "kind": "show",
        "id": 7,
        "dapp": "Acme DAO",
        "title": "Vote",
        "body": "<b>Round 4</b>",
        "url": "/inbox/7",
        "silent": False,
    }

    def wait_until_shown(*notifications: list[str]) -> None:
        page.wait_for_function(
            f"async (wanted) => JSON.stringify(await ({SHOWN})()) === wanted",
            arg=json.dumps(notifications, separators=(",", ":")),
        )

    push(**show, unread=1)
    wait_until_shown(["Acme DAO: Vote", "<b>Round 4</b>"])
    # The same notification replaces itself. For a moment Chromium shows neither.
    push(**show | {"body": "<b>Round 5</b>"}, unread=1)
    wait_until_shown(["Acme DAO: Vote", "<b>Round 5</b>"])
    push(kind="withdraw", id=7, unread=0)
    wait_until_shown()


def test_offline_a_page_explains_itself_and_nothing_else_is_kept(open_page):
    page = open_page("/settings")
    page.evaluate("navigator.serviceWorker.register('/sw.js')")
    page.evaluate(READY)
    page.wait_for_function("navigator.serviceWorker.controller !== null")
    page.context.set_offline(True)
    page.goto("/inbox?tab=all")
    heading = page.get_by_role("heading", name="This page cannot be loaded now")
    expect(heading).to_be_visible()
    # With the look of the site.
    assert heading.evaluate("each => getComputedStyle(each).fontWeight") == "650"
    kept = """caches.open("offline").then((cache) => cache.keys())
      .then((keys) => keys.map((each) => new URL(each.url).pathname))"""
    assert [path for path in page.evaluate(kept) if not path.endswith(".css")] == [
        "/offline"
    ]
    page.context.set_offline(False)
    page.get_by_role("link", name="Try again").click()
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
    assert page.url.endswith("/inbox?tab=all")


def test_the_app_can_be_installed(open_page):
    page = open_page("/inbox")
    session = page.context.new_cdp_session(page)
    found = session.send("Page.getAppManifest")
    assert found["errors"] == []
    manifest = json.loads(found["data"])
    for icon in manifest["icons"]:
        assert page.request.get(icon["src"]).ok, icon
    errors = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    # A profile without a user's data is never offered an installation.
    assert {each["errorId"] for each in errors} <= {"in-incognito"}


def test_without_a_push_service_the_page_shows_the_reason(open_page, reader):
    page = open_page("/settings")
    page.context.grant_permissions(["notifications"], origin=reader.origin)
    page.get_by_role("button", name="Turn push on").click()
    expect(page.locator("#push-problem")).to_be_visible()
    expect(page.locator("#push-problem")).not_to_be_empty()
