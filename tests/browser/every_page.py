"""Every page of the product, by route, for the tests and the pictures of all of them.

``tests/dashboard/test_look.py`` walks the routes: a page without a row here fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from playwright.sync_api import expect

from tests.browser.pages import create_project, open_live, send, subscribe

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.system import System

# Addresses with the names of what ``settle`` has made.
PAGES: Final[dict[str, tuple[str, ...]]] = {
    "dashboard:landing": ("/",),
    "dashboard:demo": ("/demo",),
    "dashboard:join": ("/join",),
    "dashboard:offline": ("/offline",),
    "dashboard:problems": ("/problems",),
    "dashboard:problem": ("/problems/malformed",),
    "dashboard:sign-in": ("/signin",),
    "dashboard:sign-in-again": ("/signin/again?next=/settings",),
    "dashboard:sign-in-prove": ("/signin/prove",),
    "dashboard:sign-in-share": ("/signin/share?account={account}",),
    "dashboard:new-group": ("/signin/share/new?account={account}",),
    "dashboard:link-show": ("/signin/link?account={account}",),
    "dashboard:key-ask": ("/signin/key?account={account}",),
    "dashboard:key-give": ("/devices/key",),
    "dashboard:sign-in-phone": ("/signin/phone",),
    "dashboard:inbox": (
        "/inbox",
        "/inbox?tab=all",
        "/inbox?tab=snoozed",
        "/inbox?tab=archived",
        "/inbox?tab=all&q=nothing",
    ),
    "dashboard:message": ("{message}",),
    "dashboard:message-actions": ("{message}/actions",),
    "dashboard:subscription-list": ("/subscriptions",),
    "dashboard:attempt": ("{attempt}",),
    "dashboard:subscription": ("{topic}", "{topic}?pressed=yes&type=alerts&from=form"),
    "dashboard:dapp": ("/dapps/acme-dao",),
    "dashboard:discover": ("/discover",),
    "dashboard:discover-choose": ("{choose}",),
    "dashboard:domain-check": ("{check}",),
    "dashboard:device-list": ("/devices",),
    "dashboard:link-confirm": ("/devices/link",),
    "dashboard:device-revoke-others": ("/devices/others/revoke",),
    "dashboard:device-revoke": ("{device}",),
    "dashboard:new-epoch": ("/devices/epoch/{account}",),
    "dashboard:sync": ("/sync",),
    "dashboard:settings": ("/settings",),
    "dashboard:data": ("/settings/data",),
    "dashboard:data-preview": ("{preview}",),
    "dashboard:digest-confirm": ("/digest/confirm/over",),
    "dashboard:digest-stop": ("/digest/stop/over",),
    "dashboard:account-remove": ("/settings/accounts/{account}/remove",),
    "dashboard:console": ("/console",),
    "dashboard:project-new": ("/console/project/new",),
    "dashboard:project": ("/console/{slug}", "/console/acme-dao"),
    "dashboard:project-close": ("/console/{slug}/close",),
    # Each step is opened by the one before.
    "dashboard:project-setup": ("/console/draft/setup",),
    "dashboard:project-setup-step": (
        "/console/draft/setup/texts",
        "/console/draft/setup/domain",
        "/console/draft/setup/types",
        "/console/draft/setup/keys",
    ),
    "dashboard:project-domain": ("/console/draft/domain", "/console/{slug}/domain"),
    "dashboard:project-send": ("/console/{slug}/send",),
    "dashboard:project-lists": ("/console/{slug}/lists",),
    "dashboard:project-scheduled": ("/console/{slug}/sent",),
    "dashboard:project-sent": ("{sent}",),
    "dashboard:project-templates": ("/console/{slug}/templates",),
    "dashboard:template-new": ("/console/{slug}/templates/new",),
    "dashboard:template-edit": ("{template}",),
    "dashboard:project-welcome": ("/console/{slug}/welcome",),
    "dashboard:project-subscribers": (
        "/console/{slug}/subscribers",
        "/console/acme-dao/subscribers",
    ),
    "dashboard:project-types": ("/console/{slug}/types",),
    "dashboard:project-keys": ("{keys}",),
    "dashboard:project-secret-revoke": ("{revoke}",),
    "dashboard:project-webhooks": ("/console/{slug}/webhooks",),
    "dashboard:project-webhook": ("{webhook}",),
    "dashboard:project-settings": ("/console/{slug}/settings",),
    "dashboard:project-members": ("/console/{slug}/members",),
    "dashboard:project-rotation": (
        "/console/{slug}/keys/replace",
        "/console/draft/keys/replace",
    ),
    "dashboard:project-leave": ("/console/{slug}/members/leave",),
    "dashboard:member-remove": ("/console/{slug}/members/{member}/remove",),
    "dashboard:member-hand-over": ("/console/{slug}/members/{member}/hand-over",),
    "dashboard:invitation": ("{invitation}", "/invitation/unknown"),
    "operations:overview": ("/ops",),
    "operations:failed": ("/ops/failed",),
    "operations:replay": ("/ops/replay",),
    "operations:jobs": ("/ops/jobs",),
    "operations:storage": ("/ops/storage",),
    "operations:audit": ("/ops/audit",),
    "operations:doctor": ("/ops/doctor",),
    "castserver:openapi-view": ("/cast/docs",),
}
# Pages of errors.
OTHERS: Final = ("/nowhere", "/inbox?q=%00", "/signin/begin")
# Asks about rows that failed, of which a sound system has none.
UNMADE: Final = frozenset({"operations:failed-act"})
# Answered by JSON, text, a picture or a redirect.
FILES: Final = frozenset(
    f"dashboard:{name}"
    for name in (
        "catalog",
        "data-csv",
        "icon",
        "link-state",
        "live-events",
        "manifest",
        "project-document",
        "project-subscribers-csv",
        "service-worker",
        "sign-in-phone-end",
        "sign-text",
        "sync-export",
    )
)

# Pages of staff; and acts that need a signature of the last ten minutes, for longer.
PREPARE: Final = """
from datetime import timedelta
from accounts.models import Account, Device, User
from common import clock
User.objects.update(is_staff=True)
Device.objects.update(proved_at=clock.now() + timedelta(hours=2))
print(Account.objects.latest("pk").pk, Device.objects.latest("created_at").pk)
"""
# A second member of the project.
COLLEAGUE: Final = """
from accounts.models import User
from castserver.models import Project
from common import clock
user = User.objects.create(username="wallet-colleague")
lumen = Project.objects.get(slug="lumen")
print(lumen.members.create(user=user, role="sender", added_at=clock.now()).pk)
"""


def settle(system: System, page: Page) -> list[str]:
    """The addresses of all pages, once each has something to show."""
    made = system.manage("shell", "-v0", "-c", PREPARE)
    account, device = made.stdout.split()[-2:]
    places = {"account": account, "device": f"/devices/{device}/revoke"}
    page.goto("/discover")
    choose = page.get_by_role("link", name="Choose what Acme DAO may send")
    places["choose"] = str(choose.get_attribute("href"))
    subscribe(page)
    expect(page.locator('.step[data-state="done"]')).to_have_count(18)
    places["attempt"] = page.url
    title = "A title of sixty-four signs, as long as dapps may write them xx"
    send(page, title, "A text " * 30)
    places["sent"] = page.url
    open_live(page, "/inbox?tab=all")
    expect(page.locator("#messages li.message")).to_have_count(1)
    places["message"] = _path(page, "#messages a.row__link").partition("?")[0]
    page.goto("/subscriptions")
    places["topic"] = _path(page, "#subscriptions a.row__link")
    page.goto("/discover/dapp?url=https://nowhere.invalid.example")
    places["check"] = page.url
    _settle_data(page, places)
    _settle_console(system, page, places)
    paths = [path for templates in PAGES.values() for path in templates]
    return [path.format(**places) for path in [*paths, *OTHERS]]


def _settle_data(page: Page, places: dict[str, str]) -> None:
    page.goto("/settings/data")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    page.get_by_label("File").set_input_files(download.value.path())
    page.get_by_role("button", name="Show what changes").click()
    page.wait_for_url("**/settings/data/import/*")
    places["preview"] = page.url


def _settle_console(system: System, page: Page, places: dict[str, str]) -> None:
    places["slug"] = slug = create_project(page, "Lumen")
    places["keys"] = page.url
    places["revoke"] = _path(page, "form[action$='/revoke']", "action")
    page.goto("/console/project/new")
    page.get_by_label("Name").first.fill("Draft")
    page.get_by_role("button", name="Create the project").click()
    page.wait_for_url("**/setup/domain")
    # Nothing listens there, so the page has a report.
    page.get_by_label("On my domain").check()
    page.locator("#id_url").fill("http://127.0.0.1:9")
    page.get_by_role("button", name="Save and go on").click()
    expect(page.get_by_role("heading", name="The two files")).to_be_visible()
    page.goto(f"/console/{slug}/webhooks")
    page.get_by_label("Address").or_(page.locator("[name=url]")).first.fill(
        "https://example.com/hook"
    )
    page.locator("[name=events]").first.check()
    page.get_by_role("button", name="Add it").click()
    page.wait_for_url("**/webhooks*made=*")
    places["webhook"] = _path(page, f"a[href*='/console/{slug}/webhooks/']")
    member = system.manage("shell", "-v0", "-c", COLLEAGUE)
    places["member"] = member.stdout.split()[-1]
    page.goto(f"/console/{slug}/members")
    page.get_by_label("For whom").fill("Bea")
    page.get_by_role("button", name="Make the link").click()
    places["invitation"] = page.locator("#invitation-link").text_content() or ""
    page.goto(f"/console/{slug}/templates/new")
    page.get_by_label("Name of the template").fill("Weekly")
    page.get_by_label("Title").first.fill("Week {{number}}")
    page.get_by_label("Text", exact=True).fill("What happened")
    page.get_by_role("button", name="Save the template").click()
    page.goto(f"/console/{slug}/templates")
    places["template"] = _path(page, "a.row__link")


def _path(page: Page, selector: str, attribute: str = "href") -> str:
    return str(page.locator(selector).first.get_attribute(attribute))
