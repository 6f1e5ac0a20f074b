"""Migration of rows from before dapp addresses were normalized."""

from __future__ import annotations

import importlib

import pytest
from django.apps import apps
from django.db import connection

from castserver.models import Project
from castserver.services.projects.projects import create_project
from common import clock
from keychain.services import ensure_canary
from subscriptions.models import DappDocument, SubscribeAttempt, Subscription
from tests.people import sign_in_person


@pytest.fixture(autouse=True)
def open_keychain(db, redis_client):
    ensure_canary()


def migrate(app: str, name: str) -> None:
    module = importlib.import_module(f"{app}.migrations.{name}")
    with connection.schema_editor() as editor:
        module.normalize_addresses(apps, editor)


def project_at(url: str) -> Project:
    project, _ = create_project("Dapp")
    Project.objects.filter(pk=project.pk).update(url=url, is_hosted=False)
    return project


def test_project_domains_are_normalized_and_the_older_of_two_keeps_it():
    first = project_at("https://a.example:443")
    second = project_at("https://a.example")
    third = project_at("https://b.example:443")
    fourth = project_at("https://b.example.")
    port = project_at("https://c.example:8443")
    for _ in range(2):
        migrate("castserver", "0007_dapp_addresses_have_one_spelling")
        urls = dict(Project.objects.values_list("pk", "url"))
        assert urls == {
            first.pk: "https://a.example:443",
            second.pk: "https://a.example",
            third.pk: "https://b.example",
            fourth.pk: "https://b.example.",
            port.pk: "https://c.example:8443",
        }


def document(url: str, key: str) -> DappDocument:
    return DappDocument.objects.create(
        url=url, domain=url[8:], public_key_x=key, created_at=clock.now()
    )


def attempt(person, url: str) -> SubscribeAttempt:
    now = clock.now()
    return SubscribeAttempt.objects.create(
        account=person.account, dapp_url=url, created_at=now, expires_at=now
    )


def test_dapp_addresses_of_wallets_are_normalized():
    alice = sign_in_person("alice")
    for number, url in enumerate(["https://a.example:443", "https://b.example"]):
        Subscription.objects.create(
            account=alice.account,
            topic=f"{number}" * 64,
            metadata={"name": "a", "url": url},
            scope={},
            expiry=1,
            dapp_url=url,
            created_at=clock.now(),
        )
    document("https://a.example:443", "aa")
    document("https://b.example", "bb")
    document("https://b.example:443", "cc")
    first = attempt(alice, "https://b.example")
    second = attempt(alice, "https://b.example:443")
    migrate("subscriptions", "0003_domain_checks_and_one_spelling_of_addresses")

    assert set(Subscription.objects.values_list("dapp_url", flat=True)) == {
        "https://a.example",
        "https://b.example",
    }
    found = DappDocument.objects.values_list("url", "domain", "public_key_x")
    assert set(found) == {
        ("https://a.example", "a.example", "aa"),
        ("https://b.example", "b.example", "bb"),
    }
    second.refresh_from_db()
    assert (second.dapp_url, second.state) == (first.dapp_url, "rejected")
    first.refresh_from_db()
    assert first.is_open
