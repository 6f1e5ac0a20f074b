"""The wizard that sets a project up, and the page of its domain."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest

from alerts.models import Digest
from alerts.services import digest
from alerts.services.domain_mails import send_domain_mails
from castserver.models import AddressCheck, Project
from castserver.services.projects.address_proof import prove_addresses
from castserver.services.projects.documents import did_document, notify_config
from castserver.services.projects.projects import find_secret
from common import clock
from tests.alerts import test_digest
from tests.castserver.receiver import Receiver
from tests.dashboard.conftest import text_of

NEW = "/console/project/new"
SECRET = re.compile(r'id="project-secret" tabindex="0">([^<]+)</pre>')

mailbox = test_digest.mailbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site(settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    with Receiver() as receiver:
        yield receiver


def serve(site, project, **changes):
    did = did_document(project)
    config = notify_config(project, project.types.all()) | changes
    site.files = {
        "/.well-known/did.json": json.dumps(did).encode(),
        "/.well-known/wc-notify-config.json": json.dumps(config).encode(),
    }


def begin(alice) -> Project:
    alice.get(NEW)
    alice.post(NEW, name="Lumen", description="")
    return Project.objects.get()


def check_again(after: timedelta = timedelta(minutes=20)) -> None:
    Project.objects.update(url_checked_at=None)
    with clock.frozen(clock.now() + after):
        prove_addresses()


def test_each_step_is_saved_and_the_wizard_resumes_where_it_was_left(alice, site):
    lumen = begin(alice)
    assert lumen.setup_step == "domain"
    assert not lumen.secrets.exists()
    assert "being set up" in text_of(alice.get("/console"))
    assert "Lumen" not in text_of(alice.get("/discover"))
    page = alice.follow(alice.get("/console/lumen/setup"))
    assert "Where are the two files?" in text_of(page)
    domain = "/console/lumen/setup/domain"
    page = alice.post(domain, place="own", url="", act="save")
    assert (page.status_code, "Enter the address" in text_of(page)) == (422, True)
    page = alice.follow(alice.post(domain, place="own", url=site.origin, act="save"))
    assert "/.well-known/did.json" in text_of(page)
    page = alice.follow(alice.post(domain, place="own", url=site.origin, act="save"))
    assert "One per line" in text_of(page)
    # Later, from the console; back to an earlier step and on again.
    page = alice.follow(alice.get("/console/lumen/setup"))
    assert "One per line" in text_of(page)
    alice.post("/console/lumen/setup/texts", name="Lumen X", description="", icon="")
    assert Project.objects.get().setup_step == "types"
    alice.get("/console/lumen/setup/types")
    page = alice.follow(
        alice.post("/console/lumen/setup/types", types="orders: Orders")
    )
    assert "Make the API secret" in text_of(page)
    answers = [alice.post("/console/lumen/setup/keys", act="make", once="a")]
    answers.append(alice.post("/console/lumen/setup/keys", act="make", once="a"))
    # The second click of a double one, after the first has ended the wizard.
    assert answers[1].headers["Location"] == answers[0].headers["Location"]
    (secret,) = SECRET.findall(alice.follow(answers[0]).text)
    lumen.refresh_from_db()
    assert find_secret(secret).project == lumen
    assert lumen.secrets.count() == 1
    assert (lumen.name, lumen.setup_step, lumen.is_hosted) == ("Lumen X", "", False)
    assert lumen.types.get().type_id == "orders"
    page = alice.follow(alice.get("/console/lumen/setup/types"))
    assert "Latest notifications" in text_of(page)


def test_a_hosted_project_goes_through_the_wizard_without_a_secret(alice):
    lumen = begin(alice)
    alice.get("/console/lumen/setup/domain")
    page = alice.follow(alice.post("/console/lumen/setup/domain", place="host"))
    assert "One per line" in text_of(page)
    alice.post("/console/lumen/setup/types", types="orders: Orders")
    alice.follow(alice.post("/console/lumen/setup/keys", act="later"))
    lumen.refresh_from_db()
    assert (lumen.setup_step, lumen.is_hosted) == ("", True)
    assert not lumen.secrets.exists()
    assert "hosted here" in text_of(alice.get("/console"))


@pytest.mark.parametrize(
    "address", ["http://localhost:8000", "http://127.0.0.1:8000/dapps/other"]
)
def test_the_servers_own_addresses_cannot_be_claimed(alice, address):
    begin(alice)
    alice.get("/console/lumen/setup/domain")
    page = alice.post("/console/lumen/setup/domain", place="own", url=address)
    assert page.status_code == 422
    assert "own addresses cannot be claimed" in text_of(page)
    assert Project.objects.get().is_hosted


def test_the_domain_is_checked_and_differences_are_shown(alice, site):
    lumen = begin(alice)
    path = "/console/lumen/domain"
    alice.get(path)
    alice.follow(alice.post(path, place="own", url=site.origin, act="save"))
    assert "is only a claim" in text_of(alice.get(path))
    assert prove_addresses() == 1
    page = text_of(alice.get(path))
    assert "the answer is 404" in page
    assert "address not proven" in text_of(alice.get("/console/lumen/settings"))
    lumen.refresh_from_db()
    serve(site, lumen, name="Another name")
    alice.get(path)
    alice.follow(alice.post(path, act="check"))
    assert "Checking" in text_of(alice.get(path))
    prove_addresses()
    page = text_of(alice.get(path))
    assert "Name Lumen Another name" in page
    lumen.refresh_from_db()
    assert lumen.url_proven_at
    serve(site, lumen)
    check_again(timedelta())
    assert "no other project can take this address" in text_of(alice.get(path))
    # What the page shows is what subscribing reads.
    assert "Lumen" in text_of(alice.check(site.origin))
    for name in ("did.json", "wc-notify-config.json"):
        answer = alice.get(f"{path}/{name}")
        assert f'filename="{name}"' in answer.headers["Content-Disposition"]
        assert json.loads(answer.text)
    assert alice.get(f"{path}/other.json").status_code == 404


def test_files_that_no_longer_match_are_shown_and_mailed_once(alice, site, mailbox):
    lumen = begin(alice)
    lumen = set_and_serve(alice, site, lumen)
    confirm_address(alice, mailbox, "alice@example.org")
    assert send_domain_mails() == 0
    lumen.types.update(description="Changed")
    check_again(timedelta())
    assert AddressCheck.objects.get().differs_since
    assert "files differ" in text_of(alice.get("/console/lumen/domain"))
    # A deployment of a few minutes causes no mail.
    assert send_domain_mails() == 0
    check_again()
    with clock.frozen(clock.now() + timedelta(minutes=21)):
        mailbox.refuses = True
        assert send_domain_mails() == 0
        mailbox.refuses = False
        assert send_domain_mails() == 1
        assert send_domain_mails() == 0
    (sent,) = mailbox.mails
    assert sent["To"] == "alice@example.org"
    text = sent.get_payload(decode=True).decode()
    assert "Changed" in text
    assert "/console/lumen/domain" in text
    serve(site, lumen)
    check_again(timedelta(hours=1))
    assert AddressCheck.objects.get().differs_since is None


def confirm_address(alice, mailbox, address) -> None:
    """On the page of the domain, without ordering a digest."""
    page = alice.get("/console/lumen/domain")
    assert "No digest is ordered" in text_of(page)
    page = alice.follow(
        alice.post("/console/lumen/domain", act="mail", email="nowhere")
    )
    assert "that is not a mail address" in text_of(page)
    assert not Digest.objects.exists()
    page = alice.follow(alice.post("/console/lumen/domain", act="mail", email=address))
    assert f"open the link in the mail to {address}" in text_of(page)
    digest.send_due_digests()
    (asked,) = mailbox.mails
    mailbox.mails.clear()
    assert asked["Subject"] == "Confirm your mail address"
    link = test_digest.link_in(asked)
    assert f"sent to {address}" in text_of(alice.get(link))
    assert Digest.objects.get().confirmed_at is None
    assert "The address is confirmed" in text_of(alice.post(link))
    page = text_of(alice.get("/console/lumen/domain"))
    assert f"A mail goes to {address}" in page
    # No digest is due, and Settings shows that.
    with clock.frozen(clock.now() + timedelta(days=8)):
        assert digest.send_due_digests() == 0
    page = alice.get("/settings").text
    assert re.search(r'value="never" checked', page)


def test_a_digest_keeps_its_rhythm_when_the_address_is_entered_in_the_console(
    alice, mailbox
):
    begin(alice)
    save = {"frequency": "weekly", "hour": 9}
    digest.save_digest(alice.user, email="a@a.example", **save)
    digest.send_due_digests()
    link = test_digest.link_in(mailbox.mails.pop())
    alice.get(link)
    alice.post(link)
    due = Digest.objects.get().next_attempt_at
    digest.save_address(alice.user, email="a@a.example")
    kept = Digest.objects.get()
    assert (kept.frequency, kept.hour, kept.next_attempt_at) == ("weekly", 9, due)
    digest.save_address(alice.user, email="b@a.example")
    kept = Digest.objects.get()
    assert (kept.frequency, kept.confirmed_at) == ("weekly", None)


def test_the_mail_address_of_the_main_owner_is_not_shown_to_members(
    alice, bob, site, mailbox
):
    lumen = set_and_serve(alice, site, begin(alice))
    confirm_address(alice, mailbox, "alice@example.org")
    lumen.members.create(user=bob.user, role="owner", added_at=clock.now())
    page = bob.get("/console/lumen/domain")
    assert "The main owner gets a mail" in text_of(page)
    assert "alice@example.org" not in page.text
    assert "owner-email" not in page.text


def set_and_serve(alice, site, lumen) -> Project:
    alice.get("/console/lumen/domain")
    alice.post("/console/lumen/domain", place="own", url=site.origin, act="save")
    lumen.refresh_from_db()
    serve(site, lumen)
    prove_addresses()
    Project.objects.update(setup_step="")
    return Project.objects.get()


def test_an_outage_that_lasts_is_reported_and_a_changed_address_starts_anew(
    alice, site
):
    lumen = set_and_serve(alice, site, begin(alice))
    site.files = {}
    check_again(timedelta())
    check = AddressCheck.objects.get()
    assert check.differs_since
    assert check.differences == []
    lumen.refresh_from_db()
    assert lumen.url_proven_at
    alice.get("/console/lumen/domain")
    alice.post("/console/lumen/domain", place="own", url=f"{site.origin}/x", act="save")
    prove_addresses()
    check.refresh_from_db()
    assert (check.matched_at, check.differs_since) == (None, None)


def test_an_asked_check_that_was_lost_is_made_again(alice, site):
    """A worker that is killed leaves a claimed row; the owner still gets the report."""
    lumen = begin(alice)
    alice.get("/console/lumen/domain")
    alice.post("/console/lumen/domain", place="own", url=site.origin, act="save")
    Project.objects.filter(pk=lumen.pk).update(url_checked_at=clock.now())
    assert prove_addresses() == 0
    with clock.frozen(clock.now() + timedelta(seconds=31)):
        assert prove_addresses() == 1
    assert AddressCheck.objects.get().read_at


def test_the_domain_page_is_the_owners(alice, charlie):
    begin(alice)
    for page in ("domain", "setup", "setup/types", "domain/did.json"):
        assert charlie.get(f"/console/lumen/{page}").status_code == 404
    assert alice.get("/console/lumen/setup/nothing").status_code == 404
