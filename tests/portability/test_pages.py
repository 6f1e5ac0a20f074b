"""Settings, "Your data": export, preview, import, as a browser asks for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import AsyncClient

from accounts.models import Device
from common import clock
from portability.models import PreparedImport, PreparedImportPart
from portability.services import uploads
from subscriptions.models import NotifyMessageRecord
from tests.dashboard.conftest import text_of
from tests.portability.conftest import PASSPHRASE, exported, values_of


def upload(person, content: bytes, passphrase: str = PASSPHRASE):
    person.get("/settings/data")
    return person.post(
        "/settings/data/import",
        file=SimpleUploadedFile("account.jsonl", content),
        passphrase=passphrase,
    )


def export(person, passphrase: str = PASSPHRASE, again: str | None = None):
    person.get("/settings/data")
    return person.browser.client.post(
        "/settings/data/export",
        {
            "csrfmiddlewaretoken": person.browser.token,
            "passphrase": passphrase,
            "again": passphrase if again is None else again,
        },
    )


def test_an_export_is_a_download(alice, notify):
    notify(title="Hello")
    response = export(alice)
    content = b"".join(response.streaming_content)
    assert "attachment; filename=" in response.headers["Content-Disposition"]
    assert "no-store" in response.headers["Cache-Control"]
    kinds = [each["kind"] for each in values_of(content)]
    assert kinds == [
        "header",
        "settings",
        "sealed",
        "subscription",
        "notification",
        "end",
    ]


@pytest.mark.parametrize(
    ("passphrase", "again", "problem"),
    [(PASSPHRASE, "other", "differ"), ("short", "short", "has 12 to")],
)
def test_a_mistyped_passphrase_exports_nothing(alice, passphrase, again, problem):
    page = alice.follow(export(alice, passphrase, again))
    assert problem in text_of(page)


def test_a_preview_is_shown_and_confirmed(alice, notify):
    notify(title="Hello")
    content = exported(alice.account)
    NotifyMessageRecord.objects.all().delete()
    there = upload(alice, content)
    page = alice.get(there.headers["Location"])
    assert "Notifications 1 new, 0 changed, 0 already here, 0 refused" in text_of(page)
    assert not NotifyMessageRecord.objects.exists()
    stored = PreparedImport.objects.get()
    assert PASSPHRASE.encode() not in bytes(stored.sealed_passphrase)
    done = alice.post(there.headers["Location"], act="import")
    assert "One thing was imported" in text_of(alice.follow(done))
    assert NotifyMessageRecord.objects.get().title == "Hello"
    assert not PreparedImport.objects.exists()
    assert alice.post(there.headers["Location"], act="import").status_code == 404


def test_a_large_file_is_kept_in_parts(alice, subscription, monkeypatch):
    monkeypatch.setattr(uploads, "PART_BYTES", 100)
    there = upload(alice, exported(alice.account))
    assert PreparedImportPart.objects.count() > 3
    assert alice.post(there.headers["Location"], act="import").status_code == 302


def test_an_import_may_be_discarded(alice, subscription):
    there = upload(alice, exported(alice.account))
    alice.get(there.headers["Location"])
    alice.post(there.headers["Location"], act="discard")
    assert not PreparedImportPart.objects.exists()


def test_an_upload_waits_ten_minutes(alice, subscription):
    there = upload(alice, exported(alice.account)).headers["Location"]
    PreparedImport.objects.update(created_at=clock.now() - timedelta(minutes=11))
    assert alice.get(there).status_code == 404
    assert uploads.prune() == 1
    assert not PreparedImportPart.objects.exists()


@pytest.mark.django_db(transaction=True)
async def test_a_download_is_streamed_through_asgi(alice, notify):
    """Each page is sent as it is read; Django warns where it had to collect them."""
    await sync_to_async(notify)(title="Hello")
    await sync_to_async(alice.get)("/settings/data")
    client = AsyncClient(headers={"host": "localhost:8000", "accept": "text/html"})
    client.cookies = alice.browser.client.cookies
    path = f"/settings/data/notifications.csv?account={alice.account.pk}"
    response = await client.get(path)
    assert response.is_async
    content = b"".join([chunk async for chunk in response.streaming_content])
    assert b"Hello" in content
    # The connection of the thread that read the pages.
    await sync_to_async(connections.close_all)()


def test_an_upload_belongs_to_its_device(alice, charlie, subscription):
    there = upload(alice, exported(alice.account)).headers["Location"]
    charlie.get("/settings")
    assert charlie.get(there).status_code == 404
    assert charlie.post(there, act="import").status_code == 404


def test_a_foreign_or_broken_file_names_its_line(alice, charlie, subscription):
    content = exported(alice.account)
    foreign = text_of(charlie.follow(upload(charlie, content)))
    assert "Nothing was imported. Line 1: the account" in foreign
    broken = text_of(alice.follow(upload(alice, content[:-20])))
    assert "Nothing was imported. Line" in broken
    assert "passphrase" in text_of(alice.follow(upload(alice, content, "wrong")))
    assert not PreparedImport.objects.exists()


def test_a_file_beyond_the_limit_is_refused(alice, subscription, settings):
    settings.LIMITS = replace(settings.LIMITS, import_bytes=100)
    page = alice.follow(upload(alice, exported(alice.account)))
    assert "too large: at most 100 bytes" in text_of(page)
    assert "Choose a file first" in text_of(
        alice.follow(alice.post("/settings/data/import", file=""))
    )


def test_leaving_and_entering_need_a_recent_signature(alice):
    alice.get("/settings/data")
    Device.objects.update(proved_at=clock.now() - timedelta(hours=1))
    for response in (
        export(alice),
        upload(alice, b""),
        alice.get("/settings/data/notifications.csv"),
    ):
        assert response.headers["Location"].startswith("/signin/again")


def test_another_persons_account_is_not_exported(alice, charlie):
    charlie.get("/settings/data")
    pk = str(alice.account.pk)
    assert charlie.post("/settings/data/export", account=pk).status_code == 404
    path = f"/settings/data/notifications.csv?account={pk}"
    assert charlie.get(path).status_code == 404
