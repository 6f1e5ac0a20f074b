"""Addresses of dapps: an unproven claim reserves nothing, did.json proves one."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from accounts.models import User
from castserver.models import Project
from castserver.services.errors import Taken
from castserver.services.projects.address_proof import prove_addresses
from castserver.services.projects.documents import did_document, project_of_domain
from castserver.services.projects.projects import create_project, set_url
from common import clock
from tests.castserver.receiver import Receiver

DID_JSON = "/.well-known/did.json"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def site(settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    with Receiver() as receiver:
        yield receiver


def owned(name, url):
    owner = User.objects.create(username=name)
    return create_project(name, url=url, owner=owner)[0]


def serve(site, project):
    site.files = {DID_JSON: json.dumps(did_document(project)).encode()}


def check_again():
    """All addresses are due, as they are some time later."""
    Project.objects.update(url_checked_at=None)
    prove_addresses()


def test_an_unproven_claim_does_not_prevent_another(site, api):
    claim = owned("mallory", site.origin)
    dapp = owned("alice", site.origin)
    assert dapp.url == claim.url
    answer = api.post("subscribe-topic", {"dappUrl": site.origin})
    assert answer.status_code == 200


def test_an_owner_has_an_address_once(site):
    dapp = owned("alice", site.origin)
    with pytest.raises(Taken):
        create_project("Copy", url=site.origin, owner=dapp.owner)


def test_keys_in_did_json_prove_the_address(site, api):
    claim = owned("mallory", site.origin)
    dapp = owned("alice", site.origin)
    assert project_of_domain(site.origin) == claim
    serve(site, dapp)
    assert prove_addresses() >= 2
    dapp.refresh_from_db()
    claim.refresh_from_db()
    assert dapp.url_proven_at is not None
    assert claim.url_proven_at is None
    assert project_of_domain(site.origin) == dapp
    with pytest.raises(Taken):
        owned("bob", site.origin)
    answer = api.post("subscribe-topic", {"dappUrl": site.origin})
    assert (answer.status_code, answer.json()["field"]) == (409, "url")


def test_the_proof_passes_to_the_keys_that_the_domain_serves_now(site):
    first, second = owned("alice", site.origin), owned("bob", site.origin)
    serve(site, first)
    check_again()
    serve(site, second)
    check_again()
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.url_proven_at, second.url_proven_at is None) == (None, False)


@pytest.mark.parametrize("served", [None, b"not JSON", b'{"id": "\\ud800"}', b"[]"])
def test_an_outage_does_not_end_a_proof(site, served):
    dapp = owned("alice", site.origin)
    serve(site, dapp)
    check_again()
    site.files = {} if served is None else {DID_JSON: served}
    check_again()
    dapp.refresh_from_db()
    assert dapp.url_proven_at is not None
    Project.objects.update(url_proven_at=clock.now() - timedelta(days=31))
    check_again()
    dapp.refresh_from_db()
    assert dapp.url_proven_at is None


def test_a_changed_address_has_to_be_proven_anew(site):
    dapp = owned("alice", site.origin)
    serve(site, dapp)
    check_again()
    dapp.refresh_from_db()
    set_url(dapp, "https://other.example.org")
    assert (dapp.url_proven_at, dapp.url_checked_at) == (None, None)


def test_hosted_addresses_are_reserved(settings):
    hosted, _ = create_project("Hosted")
    with pytest.raises(Taken):
        owned("mallory", hosted.url)
