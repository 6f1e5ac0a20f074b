"""The directory, and the report on a domain before anything is sent."""

from __future__ import annotations

import json

import pytest

from castserver.services.projects import TypeDraft, create_project
from dashboard.pages.domain_check import NotAnAddress, normalised_dapp_url
from tests.dashboard.conftest import words


def report(person, dapp):
    page = person.get(f"/discover/dapp?url={dapp.url}")
    assert page.status_code == 200
    return words(page)


@pytest.fixture
def lumen(alice):
    project, _ = create_project(
        "Lumen", types=[TypeDraft("orders", "Orders of yours")], owner=alice.user
    )
    return project


def test_dapps_of_this_server_are_listed_for_everybody(bob, lumen):
    page = bob.get("/discover")
    assert "Lumen" in words(page)
    assert lumen.url in page.text.replace("%3A", ":").replace("%2F", "/")


def test_a_search_that_finds_nothing_says_so(bob, lumen):
    assert "Lumen" in words(bob.get("/discover?q=lum"))
    assert "No dapp matches “zzz”" in words(bob.get("/discover?q=zzz"))


def test_what_a_person_subscribed_to_is_marked(alice, dapp, subscription):
    page = alice.get("/discover")
    assert "Acme DAO" in words(page)
    assert f"/subscriptions/{subscription.topic}" in page.text


def test_a_dapp_in_order_passes_every_check(bob, dapp):
    page = report(bob, dapp)
    assert "must change" not in page
    assert dapp.key_pair_x.public_key.hex() in page
    assert dapp.key.did in page
    assert "Subscribe" in page


def test_a_document_that_is_not_there_is_said(bob, dapp):
    dapp.status = 503
    page = report(bob, dapp)
    assert "The server answered 503." in page
    assert "Answer GET /.well-known/did.json with status 200" in page
    assert "What may it send?" not in page


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'"x"', b"\xff\xfe", b"[" * 5000]
)
def test_what_is_no_json_object_is_said(bob, dapp, body):
    dapp.body = body
    assert "This is not a JSON object." in report(bob, dapp)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"verificationMethod": "x"},
        {"verificationMethod": [{"publicKeyJwk": {"crv": "X25519", "x": "short"}}]},
        {"verificationMethod": [1, None]},
    ],
)
def test_a_document_without_usable_keys_is_said(bob, dapp, document):
    dapp.body = json.dumps({"types": [{"name": "news"}]} | document).encode()
    page = report(bob, dapp)
    assert "No usable key was found." in page
    assert "first X25519 (keyAgreement), then Ed25519" in page


@pytest.mark.parametrize(
    "types",
    [None, [], "news", [{"name": ""}], [{"name": "a b"}], [7], [{"name": "x" * 99}]],
)
def test_types_that_break_the_rules_are_said(bob, dapp, types):
    dapp.config = {"types": types}
    assert "What the dapp's owner must change" in report(bob, dapp)


def test_a_dapp_that_nobody_reaches_is_said(bob, dapp):
    dapp.close()
    assert "No answer" in report(bob, dapp)


def test_addresses_inside_are_not_asked(bob, settings):
    settings.OUTBOUND_ALLOW = []
    page = words(bob.get("/discover/dapp?url=https://10.0.0.1"))
    assert "Not fetched" in page


@pytest.mark.parametrize(
    ("entered", "url"),
    [
        ("app.example", "https://app.example"),
        (" https://App.Example/ ", "https://app.example"),
        ("https://app.example/x/", "https://app.example/x"),
        ("localhost:8000/dapps/acme", "http://localhost:8000/dapps/acme"),
    ],
)
def test_the_same_dapp_is_entered_in_many_ways(entered, url):
    assert normalised_dapp_url(entered) == url


@pytest.mark.parametrize(
    "entered",
    [
        "",
        "   ",
        "acme",
        "ftp://a.example",
        "https://u@a.example",
        "https://a.example/?q=1",
        "https://a.example/#x",
        "https://a b.example",
        "javascript:alert(1)",
        "https://[",
        "https://a.example:99999",
        "https://" + "a" * 300 + ".example",
        "a.example/\x00",
    ],
)
def test_what_is_no_address_is_refused(entered):
    with pytest.raises(NotAnAddress):
        normalised_dapp_url(entered)


def test_no_address_leads_back_with_a_word(bob):
    answer = bob.get("/discover/dapp?url=ftp://x")
    assert answer.headers["Location"] == "/discover"
    assert "not the address of a dapp" in words(bob.get("/discover"))


def test_many_checks_in_a_row_have_to_wait(bob, dapp):
    answers = [bob.get(f"/discover/dapp?url={dapp.url}").status_code for _ in range(21)]
    assert answers[:20] == [200] * 20
    assert answers[20] == 429
