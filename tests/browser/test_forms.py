"""Forms in a real browser: repeated submissions, confirmation, recent signatures, conflicts."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import (
    TIMEOUT_MS,
    create_project,
    is_marked,
    mark_document,
    on_b,
    open_live,
    subscribe,
)

pytestmark = [pytest.mark.system, pytest.mark.browser]

expect.set_options(timeout=TIMEOUT_MS)
ELEVEN_MINUTES_LATER = (
    "from datetime import timedelta; from django.db.models import F;"
    "from accounts.models import Device;"
    "Device.objects.update(proved_at=F('proved_at') - timedelta(minutes=11))"
)


def shown_secret(page: Page) -> str:
    return page.locator("#project-secret").text_content() or ""


def projects(page: Page) -> int:
    page.goto("/console")
    return page.get_by_role("link", name="Twofold").count()


def test_two_clicks_and_a_reload_make_one_project(two):
    a, _ = two
    create_project(a, "Twofold")
    secret = shown_secret(a)
    assert re.fullmatch("[0-9a-f]{64}", secret)
    a.reload()
    assert shown_secret(a) == secret
    a.get_by_role("button", name="I have stored it").click()
    expect(a.locator("#project-secret")).to_have_count(0)
    assert projects(a) == 1


def test_signing_out_a_device_works_without_javascript(system, window, two):
    a, b = two
    still = window(java_script_enabled=False, base_url=system.base_url)
    still.context.add_cookies(a.context.cookies())
    still.goto("/devices")
    still.get_by_role("button", name="Sign this device out").click()
    expect(still.get_by_text("Its identity key is unregistered")).to_be_visible()
    still.get_by_role("link", name="Cancel").click()
    b.reload()
    expect(b.get_by_role("heading", name="Inbox")).to_be_visible()
    still.get_by_role("button", name="Sign this device out").click()
    still.get_by_role("button", name="Sign this device out").click()
    expect(still.get_by_text("was signed out. Its identity key")).to_be_visible()
    b.reload()
    b.wait_for_url("**/signin?next=*")


def test_an_account_is_exported_and_the_file_shows_what_an_import_changes(two):
    """The whole file arrives: it has an end, and an import of it changes nothing."""
    a, _ = two
    subscribe(a)
    expect(a.locator('.step[data-state="done"]')).to_have_count(20)
    a.goto("/settings/data")
    with a.expect_download() as download:
        a.get_by_role("button", name="Export").click()
    lines = download.value.path().read_text(encoding="utf-8").splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds == ["header", "settings", "subscription", "end"]
    a.get_by_label("File").set_input_files(download.value.path())
    a.get_by_role("button", name="Show what changes").click()
    a.wait_for_url("**/settings/data/import/*")
    expect(a.locator("#main")).to_contain_text("Subscriptions")


def test_the_demo_wallet_signs_again_before_a_sensitive_action(system, two):
    a, _ = two
    assert system.manage("shell", "-c", ELEVEN_MINUTES_LATER).returncode == 0
    a.goto("/devices")
    a.get_by_role("button", name="Sign out every other device").click()
    expect(a.get_by_role("heading", name="Sign again to go on")).to_be_visible()
    a.get_by_role("button", name="Demo wallet").click()
    a.wait_for_url("**/devices/others/revoke")
    # Two windows of one kind of browser have names of their own.
    expect(a.get_by_text("These are signed out now: Chrome · Linux 2.")).to_be_visible()
    a.get_by_role("button", name="Sign out every other device").click()
    expect(a.get_by_text("One other device was signed out.")).to_be_visible()


def test_an_open_form_notices_a_change_from_elsewhere(system, two):
    a, b = two
    subscribe(a)
    expect(a.locator('.step[data-state="done"]')).to_have_count(20)
    open_live(a, "/subscriptions")
    a.get_by_role("link", name="Acme DAO").click()
    expect(a.locator("#connection")).to_have_attribute("data-state", "live")
    mark_document(a)
    a.get_by_label("results").uncheck()
    open_live(b, on_b(system, "/subscriptions"))
    b.get_by_role("link", name="Acme DAO").click()
    b.get_by_label("alerts").uncheck()
    b.get_by_role("button", name="Save").click()
    # What A is choosing stays; that something changed, and where, appears beside it.
    expect(a.locator("#scope-note")).to_contain_text(
        "Changed on Chrome · Linux 2 while"
    )
    expect(a.get_by_label("results")).not_to_be_checked()
    expect(a.get_by_label("alerts")).to_be_checked()
    assert is_marked(a)
    a.get_by_role("button", name="Save").click()
    expect(a.locator("#scope-conflict")).to_contain_text("Nothing was sent")
    expect(a.get_by_text("You chose on; it is off now.")).to_be_visible()
    expect(a.get_by_label("results")).not_to_be_checked()
    a.get_by_label("alerts").uncheck()
    a.get_by_role("button", name="Save").click()
    for page in two:
        expect(page.locator("#scope-conflict")).to_have_count(0)
        expect(page.get_by_label("results")).not_to_be_checked()
        expect(page.get_by_label("alerts")).not_to_be_checked()
        expect(page.get_by_label("proposals")).to_be_checked()
    a.goto("/sync")
    expect(a.locator("#updates")).to_contain_text("Chrome · Linux 2")
