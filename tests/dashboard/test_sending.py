"""Sending from the console: files, dry runs, schedules, templates, retries, welcome."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from castserver.models import Broadcast, Notification, RecipientList
from castserver.services.notifications.broadcast import send_due_broadcasts
from castserver.services.notifications.welcome import welcome_of
from castserver.services.projects.projects import TypeDraft, create_project
from common import clock
from tests.castserver.test_notify import accounts_of, many
from tests.dashboard.conftest import text_of

SEND = "/console/lumen/send"
UPLOAD = "/console/upload/accounts"


@pytest.fixture
def lumen(alice):
    types = [TypeDraft("alerts", "Urgent"), TypeDraft("news", "News")]
    return create_project(
        "Lumen", url="https://lumen.example", types=types, owner=alice.user
    )[0]


def send(person, **fields):
    person.get(SEND)
    entered = {"type": "alerts", "title": "Filled", "body": "2.5", "audience": "me"}
    return person.post(SEND, **({"once": "a"} | entered | fields))


def upload(person, text, **fields):
    person.get(SEND)
    entered = {"project": "lumen", "type": "alerts", "title": "Filled", "body": "2.5"}
    file = SimpleUploadedFile("people.csv", text.encode())
    return person.post(UPLOAD, file=file, **(entered | fields))


def test_a_file_is_stored_and_sent_to(alice, lumen):
    many(lumen, 2)
    page = upload(
        alice,
        "\n".join(accounts_of(3)),
        title="Kept title",
        body="By {{ percent }}",
        var_percent="3 %",
    )
    assert page.status_code == 200
    assert re.search(r'name="var_percent" value="3 %"', page.text)
    assert "people.csv: 3 accounts are stored." in text_of(page)
    # What was entered before the upload is in the form again.
    assert 'value="Kept title"' in page.text
    found = RecipientList.objects.get()
    assert f'value="{found.pk}" selected' in page.text
    sent = alice.follow(send(alice, audience="file", recipients=str(found.pk)))
    assert "2 sent" in text_of(sent)
    assert "1 not sent" in text_of(sent)
    assert "not a subscriber" in text_of(sent)
    lists = alice.get("/console/lumen/lists")
    assert "3 accounts" in text_of(lists)
    alice.post(f"/console/lumen/lists/{found.pk}/delete")
    assert not RecipientList.objects.exists()


def test_bad_lines_of_a_file_are_listed(alice, lumen):
    page = upload(alice, "account\nnonsense\n" + accounts_of(1)[0])
    assert page.status_code == 422
    assert "1 line of the file has no account; nothing was stored." in text_of(page)
    assert "2 nonsense not a CAIP-10 account" in text_of(page)
    assert not RecipientList.objects.exists()
    page = upload(alice, "account\nnonsense\n" + accounts_of(1)[0], leave_out="on")
    assert "1 lines were left out." in text_of(page)


def test_an_upload_needs_a_file_and_the_owner(alice, charlie, lumen):
    alice.get(SEND)
    page = alice.post(UPLOAD, project="lumen")
    assert (page.status_code, "Choose a file first." in text_of(page)) == (422, True)
    charlie.get("/console")
    assert charlie.post(UPLOAD, project="lumen").status_code == 404
    page = send(alice, audience="file")
    assert "Upload a file, or choose a list." in text_of(page)


def test_a_dry_run_says_who_would_get_it_and_keeps_the_form(alice, lumen):
    many(lumen, 2)
    page = send(alice, act="check", audience="list", accounts="\n".join(accounts_of(3)))
    assert page.status_code == 200
    assert "Dry run: 2 accounts would get it. Nothing was sent." in text_of(page)
    assert "1 would not: not a subscriber" in text_of(page)
    assert 'value="Filled"' in page.text
    assert not Notification.objects.exists()
    page = send(alice, act="check", audience="everyone")
    assert "Dry run: 2 accounts would get it." in text_of(page)


def test_a_notification_is_scheduled_shown_and_cancelled(alice, lumen):
    many(lumen, 2)
    year = clock.now().year + 1
    entered = {"act": "schedule", "audience": "everyone", "time_zone": "Europe/Berlin"}
    early = clock.now() + timedelta(days=2)
    page = alice.follow(send(alice, at=f"{early:%Y-%m-%dT%H:%M}", **entered))
    assert "Europe/Berlin (UTC+0" in text_of(page)
    assert "Filled" in text_of(alice.get("/console/lumen/sent"))
    pk = Notification.objects.get().pk
    page = alice.follow(alice.post(f"/console/lumen/sent/{pk}/cancel"))
    assert "It was cancelled before it was sent." in text_of(page)
    with clock.frozen(early + timedelta(days=1)):
        assert send_due_broadcasts() == 0
    for at, message in (
        ("2020-01-01T10:00", "is past"),
        (f"{year}-01-01T10:00+01:00", "without an offset"),
        ("", "Enter a date and a time"),
    ):
        page = send(alice, at=at, **entered)
        assert page.status_code == 422
        assert message in text_of(page)
    assert Broadcast.objects.count() == 1


def test_a_template_asks_for_its_variables(alice, lumen):
    alice.get("/console/lumen/templates/new")
    entered = {
        "name": "Price",
        "type": "alerts",
        "title": "{{ token }} is up",
        "body": "By {{ percent }}",
    }
    alice.post("/console/lumen/templates/new", **entered)
    template = lumen.templates.get()
    page = alice.get(f"{SEND}?template={template.pk}")
    assert re.findall(r'name="var_(\w+)"', page.text) == ["token", "percent"]
    filled = {"title": entered["title"], "body": entered["body"]}
    page = send(alice, var_token="LUM", **filled)
    assert page.status_code == 422
    assert "Enter a value for percent." in text_of(page)
    assert not Notification.objects.exists()
    page = send(alice, var_token="L" * 64, var_percent="3 %", **filled)
    assert "With its variables it has more than 64 characters." in text_of(page)
    alice.follow(send(alice, var_token="LUM", var_percent="3 %", **filled))
    sent = Notification.objects.get()
    assert (sent.title, sent.body) == ("LUM is up", "By 3 %")
    path = f"/console/lumen/templates/{template.pk}"
    alice.get(path)
    page = alice.post(path, **(entered | {"body": "{{ Percent }}"}))
    assert "Write a variable as {{ name }}" in text_of(page)
    alice.post(path, act="delete")
    assert not lumen.templates.exists()


@pytest.mark.parametrize("link", ["http://lumen.example", "javascript:alert(1)", "x"])
@pytest.mark.parametrize("field", ["url", "icon"])
def test_links_are_https(alice, lumen, field, link):
    page = send(alice, **{field: link})
    assert page.status_code == 422
    assert re.search(f'id="id_{field}_error"', page.text)
    assert "A link" in text_of(page)
    assert not Notification.objects.exists()


def test_failed_accounts_are_retried(alice, lumen):
    sent = send(alice, audience="list", accounts="\n".join(accounts_of(2)))
    page = alice.follow(sent)
    assert "Retry the failed" in text_of(page)
    many(lumen, 2)
    path = sent.headers["Location"]
    page = alice.follow(alice.post(f"{path}/retry"))
    assert "2 sent" in text_of(page)
    assert "Retry the failed" not in text_of(page)
    assert "A wallet of the account has acknowledged it." in text_of(page)
    assert "None." in text_of(alice.get(f"{path}?show=failed"))
    assert alice.get(f"{path}?show=nonsense&after=x").status_code == 200


def test_a_welcome_notification_is_set_up(alice, lumen):
    path = "/console/lumen/welcome"
    alice.get(path)
    entered = {"type": "alerts", "title": "Welcome", "body": "Thanks"}
    alice.follow(alice.post(path, enabled="on", **entered))
    assert welcome_of(lumen).enabled
    assert 'value="Welcome"' in alice.get(path).text
    page = alice.post(path, enabled="on", **(entered | {"url": "http://x.example"}))
    assert page.status_code == 422
    alice.follow(alice.post(path, **entered))
    assert not welcome_of(lumen).enabled


def test_the_test_button_sends_to_the_own_accounts_only(alice, lumen):
    many(lumen, 3)
    alice.follow(send(alice, act="me", audience="everyone"))
    assert Notification.objects.get().deliveries.count() == 0


@pytest.mark.parametrize(
    "page", ["lists", "sent", "templates", "templates/new", "welcome"]
)
def test_what_is_stored_for_sending_is_visible_to_the_owner_only(
    alice, charlie, lumen, page
):
    assert alice.get(f"/console/lumen/{page}").status_code == 200
    assert charlie.get(f"/console/lumen/{page}").status_code == 404


def test_the_overview_shows_what_of_the_limits_is_used(alice, lumen):
    assert "All of it is free." in alice.get("/console/lumen").text
    send(alice, audience="list", accounts="eip155:1:0x" + "1" * 40)
    page = alice.get("/console/lumen").text
    assert "1 of 20" in page
    assert "20 at once, then 2 per second" in page
    assert "Full again in 1 second." in page
