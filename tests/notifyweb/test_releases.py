"""Databases of released versions can be migrated; released migrations never change."""

from __future__ import annotations

import hashlib
import lzma
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.test import override_settings
from psycopg import sql

from accounts.models import Account
from castserver.models import Notification, Project
from keychain import services as keychain
from keychain.models import KeyPairEntry, SecretEntry, SigningKeyEntry, SymKeyEntry
from keychain.services import Holder
from notifyweb import backup, startup
from notifyweb.schema import schema_differences
from subscriptions.models import NotifyMessageRecord, Subscription
from tests.browser_device import BrowserDevice, wait_for
from tests.dashboard.conftest import Browser
from tests.fixtures.make_release import DAVE
from tests.people import Wallet
from tests.system import System
from walletconnect.crypto.ethereum import address_of
from walletconnect.crypto.keys import topic_of

FIXTURES = Path(__file__).parent.parent / "fixtures"
RELEASES = sorted(path.parent for path in FIXTURES.glob("*/backup.xz"))
each_release = pytest.mark.parametrize("folder", RELEASES, ids=lambda path: path.name)
DAVES_ACCOUNT = f"eip155:1:{address_of(DAVE)}"


def keys_of(folder):
    return (folder / "keychain_keys").read_text().strip()


def unpack(folder, to):
    """The backup of a release as ``manage.py restore`` takes it."""
    file = to / "backup"
    file.write_bytes(lzma.decompress((folder / "backup.xz").read_bytes()))
    shutil.copy(folder / "backup.removed", backup.removed_beside(file))
    return file


@contextmanager
def empty_database():
    """A second database, used instead of the test database."""
    usual = settings.DATABASES["default"]["NAME"]
    name = f"{usual}_release"
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    use_database(name)
    try:
        yield
    finally:
        use_database(usual)
        with connection.cursor() as cursor:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
            cursor.execute(drop.format(sql.Identifier(name)))


def use_database(name):
    connection.close()
    connection.settings_dict["NAME"] = settings.DATABASES["default"]["NAME"] = name


# --- data of a release ------------------------------------------------------------------


@pytest.fixture(scope="module", params=RELEASES, ids=lambda path: path.name)
def restored(request, django_db_setup, django_db_blocker, tmp_path_factory):
    """The database of a release, restored and migrated; how many accounts were removed."""
    file = unpack(request.param, tmp_path_factory.mktemp("release"))
    with (
        django_db_blocker.unblock(),
        empty_database(),
        override_settings(KEYCHAIN_KEYS=[keys_of(request.param)]),
    ):
        devices, _ = backup.restore(file, None)
        assert devices
        yield


@pytest.fixture
def dave(restored, db, redis_client):
    return Account.objects.at(DAVES_ACCOUNT).get()


def test_a_migrated_release_starts(restored, db):
    assert schema_differences() == []
    startup.check_startup()


def test_every_key_of_a_release_opens(dave):
    (subscription,) = Subscription.objects.filter(account=dave, deleted_at=None)
    opened = keychain.sym_keys(Holder.WALLET, [subscription.topic])
    assert topic_of(opened[subscription.topic].raw) == subscription.topic
    for entry in SymKeyEntry.objects.all():
        assert keychain.sym_keys(entry.holder, [entry.topic])
    for entry in KeyPairEntry.objects.all():
        assert keychain.key_pairs(entry.holder, [entry.topic])
    for entry in SigningKeyEntry.objects.all():
        assert keychain.signing_key(entry.holder, entry.did)
    for entry in SecretEntry.objects.all():
        assert keychain.secret(entry.holder, entry.name)


def test_rows_of_a_release_are_read(dave):
    assert Project.objects.filter(name="Fixture dapp").exists()
    assert Notification.objects.filter(title="Notification 2").exists()
    (subscription,) = Subscription.objects.filter(account=dave, deleted_at=None)
    enabled = {name for name, each in subscription.scope.items() if each["enabled"]}
    assert enabled == {"alerts"}
    records = NotifyMessageRecord.objects.filter(subscription=subscription)
    assert set(records.values_list("title", flat=True)) >= {"Notification 2", "Welcome"}


@pytest.mark.parametrize("path", ["/subscriptions", "/devices", "/sync", "/settings"])
def test_pages_show_rows_of_a_release(dave, path):
    assert Browser().sign_in(Wallet(DAVE)).get(path).status_code == 200


def test_the_inbox_and_the_console_list_data_of_a_release(dave):
    browser = Browser().sign_in(Wallet(DAVE))
    inbox = browser.get("/inbox?tab=all").text
    for title in ("Welcome", "Notification 0", "Notification 1", "Notification 2"):
        assert title in inbox
    assert "Fixture dapp" in browser.get("/console").text
    slug = Project.objects.get(name="Fixture dapp").slug
    for tab in ("", "/send", "/subscribers", "/types", "/keys", "/webhooks"):
        assert browser.get(f"/console/{slug}{tab}").status_code == 200


@each_release
def test_an_edited_release_is_refused_before_anything_is_migrated(
    folder, tmp_path, django_db_setup, django_db_blocker
):
    file = unpack(folder, tmp_path)
    with django_db_blocker.unblock(), empty_database(), connection.cursor() as cursor:
        backup._run("pg_restore", "--no-owner", "--no-acl", str(file))
        assert startup.unfit_for_migrating() == ""
        cursor.execute("ALTER TABLE castserver_webhook DROP COLUMN url")
        refused = startup.unfit_for_migrating()
    assert "no column castserver_webhook.url" in refused


@pytest.mark.system
@each_release
def test_the_whole_system_runs_on_data_of_a_release(folder, tmp_path):
    system = System(KEYCHAIN_KEYS=keys_of(folder))
    try:
        system.manage("restore", str(unpack(folder, tmp_path)))
        system.start()
        with BrowserDevice(system.base_url, DAVES_ACCOUNT, DAVE).sign_in() as dave:
            wait_for("the inbox", lambda: "Notification 2" in dave.titles())
            # Subscriptions of a release expire as time goes by; their messages stay.
            assert dave.receipts("fixture-dapp") > 0
    finally:
        system.remove()


# --- migrations are only added ----------------------------------------------------------


@each_release
def test_migrations_of_a_release_are_unchanged(folder):
    """If this fails, add a migration: the edited one is applied in existing databases."""
    loader = MigrationLoader(None)
    for line in (folder / "migrations.sha256").read_text().splitlines():
        released, _, name = line.partition("  ")
        migration = loader.disk_migrations[tuple(name.split("."))]
        file = Path(sys.modules[migration.__module__].__file__)
        assert hashlib.sha256(file.read_bytes()).hexdigest() == released, name
