"""The console of a dapp owner: setting up by the wizard, and sending, as a person does it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import expect

from tests.browser.pages import create_project, start_demo, subscribe

if TYPE_CHECKING:
    from playwright.sync_api import Page

MISSING_HOUR = "2027-03-28T02:30"


def compose(page: Page, slug: str, title: str) -> None:
    page.goto(f"/console/{slug}/send")
    page.get_by_label("Title").fill(title)
    page.get_by_label("Text", exact=True).fill("Voting ends on Friday.")


def test_a_project_is_set_up_and_sends_to_a_file_later_and_from_a_template(
    system, window, tmp_path
):
    page = window(base_url=system.base_url)
    start_demo(page)
    slug = create_project(page, "Quorum")
    expect(page.locator("#project-secret")).to_be_visible()

    # The preview follows what is typed, on all three surfaces.
    page.goto(f"/console/{slug}/templates/new")
    page.get_by_label("Name of the template").fill("Price")
    page.get_by_label("Title").fill("{{ token }} is up")
    page.get_by_label("Text", exact=True).fill("By {{ percent }}.")
    page.get_by_role("button", name="Save the template").click()
    page.get_by_role("link", name="Use the template Price").click()
    page.get_by_role("button", name="Dry run").click()
    # The browser asks for the missing value before the server does.
    expect(page.get_by_label("token")).to_be_focused()
    page.get_by_label("token").fill("LUM")
    page.get_by_label("percent").fill("3 %")
    for surface in (".message__title", ".push__title", ".push--lock .push__title"):
        expect(page.locator(f"#preview {surface}").last).to_contain_text("LUM is up")

    # A file with a bad line is refused, and what was entered stays.
    file = tmp_path / "people.csv"
    accounts = [f"eip155:1:0x{number:040x}" for number in range(30)]
    file.write_text("\n".join(["account", *accounts, "nonsense"]))
    page.get_by_label("The accounts of a CSV file").check()
    for is_ticked in (False, True):
        page.get_by_label("Another file").set_input_files(file)
        page.get_by_label("Leave out lines").set_checked(is_ticked)
        page.get_by_role("button", name="Upload the file").click()
        text = "30 accounts are stored" if is_ticked else "1 line of the file has no"
        expect(page.get_by_text(text)).to_be_visible()
        expect(page.get_by_label("token")).to_have_value("LUM")
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator("#dry-run")).to_contain_text("0 accounts would get it")

    # Later: a time that the clocks skip, one that exists, and cancelled again.
    page.get_by_text("Send it later").click()
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_label("Date and time").fill(MISSING_HOUR)
    page.get_by_role("button", name="Schedule").click()
    expect(page.get_by_text("does not exist in Europe/Berlin")).to_be_visible()
    page.get_by_label("Date and time").fill(MISSING_HOUR.replace("02:", "03:"))
    page.get_by_role("button", name="Schedule").click()
    expect(page.get_by_text("03:30 Europe/Berlin (UTC+02:00)")).to_be_visible()
    page.get_by_role("button", name="Cancel it").click()
    expect(page.get_by_text("It was cancelled before it was sent.")).to_be_visible()


def test_the_result_of_a_notification_is_live(system, window):
    """The receipt of a subscriber's wallet arrives on the open page."""
    page = window(base_url=system.base_url)
    start_demo(page)
    subscribe(page)
    expect(page.locator('.step[data-state="done"]')).to_have_count(18)
    compose(page, "acme-dao", "Proposal 7")
    page.get_by_role("button", name="Send", exact=True).click()
    page.wait_for_url("**/sent/*")
    expect(page.locator(".results--five div").nth(1)).to_contain_text("1received")


def test_sending_works_without_javascript(system, window):
    page = window(base_url=system.base_url)
    start_demo(page)
    slug = create_project(page, "Still")
    still = window(java_script_enabled=False, base_url=system.base_url)
    still.context.add_cookies(page.context.cookies())
    compose(still, slug, "Without scripts")
    still.get_by_label("Everyone who allows this type").check()
    still.get_by_role("button", name="Dry run").click()
    expect(still.get_by_text("Nothing was sent.")).to_be_visible()
    expect(still.get_by_label("Title")).to_have_value("Without scripts")
    still.get_by_role("button", name="Send", exact=True).click()
    expect(still.get_by_text("so it was sent to no account")).to_be_visible()


def test_an_invited_person_accepts_with_a_wallet_and_sends(system, window):
    owner, guest, late = (window(base_url=system.base_url) for _ in range(3))
    start_demo(owner)
    slug = create_project(owner, "Shared & Co")
    owner.goto(f"/console/{slug}/members")
    owner.get_by_label("Role", exact=True).select_option("sender")
    owner.get_by_label("For whom").fill("Bea of the press office")
    owner.get_by_role("button", name="Make the link").dblclick()
    link = owner.locator("#invitation-link").text_content() or ""
    expect(owner.get_by_text("Bea of the press office")).to_have_count(1)
    mail = owner.get_by_role("link", name="Write a mail with the link")
    address = mail.get_attribute("href") or ""
    assert parse_qs(urlsplit(address).query) == {
        "subject": ["You are invited to Shared & Co"],
        "body": [link.strip()],
    }

    # Signing in comes first, and leads back to the invitation.
    start_demo(guest)
    guest.goto(link)
    expect(guest.get_by_role("heading", name="Join Shared & Co?")).to_be_visible()
    expect(guest.get_by_text("compose, schedule, cancel")).to_be_visible()
    guest.get_by_role("button", name="Accept").click()
    expect(
        guest.get_by_text("You are now a member of Shared & Co: sender.")
    ).to_be_visible()
    tabs = guest.get_by_role("navigation", name="Project")
    expect(tabs.get_by_role("link", name="Webhooks")).to_be_visible()
    guest.goto(f"/console/{slug}/keys")
    expect(guest.get_by_text("Only owners see and make API secrets.")).to_be_visible()
    compose(guest, slug, "From the sender")
    guest.get_by_label("Everyone who allows this type").check()
    guest.get_by_role("button", name="Send", exact=True).click()
    expect(guest.get_by_text("so it was sent to no account")).to_be_visible()
    guest.goto(f"/console/{slug}/close")
    expect(guest.get_by_text("You are a sender of Shared & Co")).to_be_visible()

    start_demo(late)
    late.goto(link)
    expect(late.get_by_text("This invitation was used already")).to_be_visible()

    # The owner makes a viewer of the sender, whose pages then have no forms.
    owner.goto(f"/console/{slug}/members")
    owner.get_by_role("combobox", name="Role of").select_option("viewer")
    owner.get_by_role("button", name="Change the role of").click()
    expect(owner.get_by_text("The member is now: viewer.")).to_be_visible()
    guest.goto(f"/console/{slug}/sent")
    expect(guest.get_by_text("From the sender")).to_be_visible()
    expect(guest.get_by_role("link", name="Compose")).to_have_count(0)
    guest.goto(f"/console/{slug}/settings")
    expect(guest.get_by_label("Name")).to_be_disabled()
    guest.goto(f"/console/{slug}/members")
    guest.get_by_role("link", name="Leave the project").click()
    guest.get_by_role("button", name="Leave the project").click()
    expect(guest.get_by_role("link", name="Shared & Co")).to_have_count(0)
