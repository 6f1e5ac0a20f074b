"""The directory and domain checks."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import time
from datetime import timedelta

import pytest

from accounts.models import AccountEvent
from castserver.models import Project
from castserver.services.projects.projects import TypeDraft, create_project
from common import clock, limits
from common.dapp_urls import NotAnAddress, parse_dapp_url
from dashboard.pages.discover import MAX_RESULTS, directory
from subscriptions import services
from subscriptions.models import (
    DappDocument,
    DomainCheck,
    SubscribeAttempt,
    Subscription,
)
from tests.dashboard.conftest import text_of


def report(person, dapp):
    page = person.check(dapp.url)
    assert page.status_code == 200
    return text_of(page)


@pytest.fixture
def lumen(alice):
    project, _ = create_project(
        "Lumen", types=[TypeDraft("orders", "Orders of yours")], owner=alice.user
    )
    return project


def test_dapps_of_this_server_are_listed_for_everybody(bob, lumen):
    page = bob.get("/discover")
    assert "Lumen" in text_of(page)
    assert lumen.url in page.text.replace("%3A", ":").replace("%2F", "/")


def test_the_dapps_of_one_owner_do_not_fill_the_page(alice, bob, lumen):
    Project.objects.filter(pk=lumen.pk).update(created_at=clock.now())
    earlier = clock.now() - timedelta(days=1)
    for number in range(MAX_RESULTS + 1):
        project, _ = create_project(f"A {number:03}", owner=bob.user)
        Project.objects.filter(pk=project.pk).update(created_at=earlier)
    assert "Lumen" in [card.name for card in directory(bob.user.pk)]


def test_the_dapps_that_one_user_subscribes_to_do_not_fill_the_page(
    alice, bob, subscription
):
    now = clock.now()
    urls = [f"https://a{number}.example.org" for number in range(MAX_RESULTS + 1)]
    DappDocument.objects.bulk_create(
        DappDocument(url=url, name="AAA", public_key_x="0" * 64, created_at=now)
        for url in urls
    )
    Subscription.objects.bulk_create(
        Subscription(
            account=bob.account,
            topic=f"{number:064x}",
            metadata={},
            scope={},
            expiry=0,
            dapp_url=url,
            added_by="sync",
            created_at=now,
        )
        for number, url in enumerate(urls)
    )
    assert "Acme DAO" in [card.name for card in directory(bob.user.pk)]


def test_a_search_without_results_shows_a_message(bob, lumen):
    assert "Lumen" in text_of(bob.get("/discover?q=lum"))
    assert "No dapp matches “zzz”" in text_of(bob.get("/discover?q=zzz"))


def test_what_a_person_subscribed_to_is_marked(alice, dapp, subscription):
    page = alice.get("/discover")
    assert "Acme DAO" in text_of(page)
    assert f"/subscriptions/{subscription.topic}" in page.text


def test_a_dapp_in_order_passes_every_check(bob, dapp):
    page = report(bob, dapp)
    assert "must change" not in page
    assert dapp.key_pair_x.public_key.hex() in page
    assert dapp.key.did in page
    assert "Subscribe" in page


def test_a_missing_document_is_reported(bob, dapp):
    dapp.status = 503
    page = report(bob, dapp)
    assert "the answer is 503" in page
    assert f"Answer GET {dapp.url}/.well-known/did.json with status 200" in page
    assert "What may it send?" not in page


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'"x"', b"\xff\xfe", b"[" * 5000]
)
def test_a_document_that_is_no_json_object_is_reported(bob, dapp, body):
    dapp.body = body
    assert "this is not a JSON object" in report(bob, dapp)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"verificationMethod": "x"},
        {"verificationMethod": [{"publicKeyJwk": {"crv": "X25519", "x": "short"}}]},
        {"verificationMethod": [1, None]},
    ],
)
def test_a_document_without_usable_keys_is_reported(bob, dapp, document):
    dapp.body = json.dumps({"types": [{"name": "news"}]} | document).encode()
    page = report(bob, dapp)
    assert "keyAgreement names no X25519 key" in page or "malformed public" in page
    assert "authentication names no Ed25519 key" in page
    assert "first X25519 (keyAgreement), then Ed25519" in page


@pytest.mark.parametrize(
    "types",
    [None, [], "news", [{"name": ""}], [{"name": "a b"}], [7], [{"name": "x" * 99}]],
)
def test_invalid_types_are_reported(bob, dapp, types):
    dapp.config = {"types": types}
    assert "What the dapp's owner must change" in report(bob, dapp)


def test_an_unreachable_dapp_is_reported(bob, dapp):
    dapp.close()
    assert f"Make {dapp.url}/.well-known/did.json reachable" in report(bob, dapp)


@pytest.mark.parametrize(
    "url", ["https://10.0.0.1", "http://app.example", "https://app.example:8443"]
)
def test_blocked_addresses_receive_no_request(bob, settings, url):
    settings.OUTBOUND_ALLOW = []
    page = text_of(bob.follow(bob.get(f"/discover/dapp?url={url}")))
    assert "That address is not reached" in page
    assert not DomainCheck.objects.exists()


@pytest.mark.parametrize(
    ("entered", "url"),
    [
        ("app.example", "https://app.example"),
        (" https://App.Example/ ", "https://app.example"),
        ("https://app.example/x/", "https://app.example/x"),
        ("localhost:8000/dapps/acme", "http://localhost:8000/dapps/acme"),
        ("https://app.example/?utm_source=newsletter#top", "https://app.example"),
        ("app.example?x", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://localhost:80/x", "http://localhost/x"),
        ("\tHTTPS://App.Example./\r\n", "https://app.example"),
        ("//app.example", "https://app.example"),
        ("https://m\u00fcnchen.example", "https://xn--mnchen-3ya.example"),
        (
            "m\u00fcnchen.example/stra\u00dfe",
            "https://xn--mnchen-3ya.example/stra%C3%9Fe",
        ),
        ("[::1]:3000", "http://[::1]:3000"),
        ("https://[2001:DB8::1]:443/", "https://[2001:db8::1]"),
        ("app.example:8443", "https://app.example:8443"),
    ],
)
def test_the_same_dapp_is_entered_in_many_ways(entered, url):
    assert str(parse_dapp_url(entered)) == url


@pytest.mark.parametrize(
    "entered",
    [
        "",
        "   ",
        "acme",
        "ftp://a.example",
        "https://u@a.example",
        "https://a b.example",
        "javascript:alert(1)",
        "https://[",
        "https://a.example:99999",
        "https://" + "a" * 300 + ".example",
        "https://a.example/" + "a" * 512,
        "https://-a.example",
        "https://127.1",
        "mailto:a@a.example",
        "a.example/\x00",
    ],
)
def test_what_is_no_address_is_refused(entered):
    with pytest.raises(NotAnAddress):
        parse_dapp_url(entered)


def test_an_empty_address_returns_with_a_message(bob):
    answer = bob.get("/discover/dapp?url=ftp://x")
    assert answer.headers["Location"] == "/discover"
    assert "not the address of a dapp" in text_of(bob.get("/discover"))


def test_many_checks_in_a_row_have_to_wait(bob, dapp, settings):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, domain_check=limits.Bucket(2, 1 / 600)
    )
    for _ in range(2):
        assert bob.check(dapp.url).status_code == 200
    answer = bob.get(f"/discover/dapp?url={dapp.url}")
    assert answer.status_code == 429
    assert 500 < int(answer["Retry-After"]) <= 600


# --- a check that takes its time ------------------------------------------------------


def test_a_check_that_runs_shows_what_it_waits_for(bob, dapp):
    answer = bob.get(f"/discover/dapp?url={dapp.url}")
    assert answer.status_code == 302
    page = bob.follow(answer)
    assert "The check waits for its turn." in text_of(page)
    assert page.text.count("not yet") == 6
    check = DomainCheck.objects.get()
    assert f'data-watch="subscriptions.domaincheck:{check.pk}"' in page.text
    assert '<noscript><meta http-equiv="refresh"' in page.text

    began = check.created_at
    DomainCheck.objects.update(
        leased_by=1,
        lines=[{"label": "did.json", "state": "ok"}],
        waits_for="wc-notify-config.json",
        waits_since=began,
    )
    with clock.frozen(began + timedelta(seconds=4)):
        page = text_of(bob.follow(answer))
    assert "wc-notify-config.json waiting for the domain's answer, 4 s" in page
    assert "did.json fine" in page
    assert "Notification types not yet" in page


def test_every_step_of_a_check_is_announced(bob, dapp):
    AccountEvent.objects.all().delete()
    bob.check(dapp.url)
    check = DomainCheck.objects.get()
    events = AccountEvent.objects.filter(user=bob.user, kind="domain.check")
    assert events.count() >= 1
    assert {each.subject for each in events} == {
        f"subscriptions.domaincheck:{check.pk}"
    }
    assert check.finished_at is not None
    assert [line["state"] for line in check.lines] == ["ok"] * 6


def test_a_check_is_visible_to_its_user_only(bob, charlie, dapp):
    bob.check(dapp.url)
    path = f"/discover/check/{DomainCheck.objects.get().pk}"
    assert bob.get(path).status_code == 200
    assert charlie.get(path).status_code == 404


def test_checks_per_user_are_limited(bob, charlie, dapp):
    for _ in range(3):
        assert bob.get(f"/discover/dapp?url={dapp.url}").status_code == 302
    answer = bob.get(f"/discover/dapp?url={dapp.url}")
    assert (answer.status_code, answer["Retry-After"]) == (429, "5")
    assert charlie.get(f"/discover/dapp?url={dapp.url}").status_code == 302
    assert services.run_checks() == 4
    assert bob.get(f"/discover/dapp?url={dapp.url}").status_code == 302


def test_all_checks_together_have_a_limit(bob, charlie, dapp, settings):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, domain_checks_in_all=1)
    assert bob.get(f"/discover/dapp?url={dapp.url}").status_code == 302
    assert charlie.get(f"/discover/dapp?url={dapp.url}").status_code == 429


def test_a_check_whose_worker_died_is_taken_over_or_ended(bob, dapp):
    bob.get(f"/discover/dapp?url={dapp.url}")
    # No process has so high a number.
    DomainCheck.objects.update(leased_by=2**31 - 1)
    assert services.run_checks() == 1
    bob.get(f"/discover/dapp?url={dapp.url}")
    check = DomainCheck.objects.get(finished_at=None)
    with clock.frozen(check.created_at + timedelta(seconds=61)):
        assert services.run_checks() == 0
        page = text_of(bob.get(f"/discover/check/{check.pk}"))
    assert "The check was interrupted" in page
    assert "Check again" in page
    with clock.frozen(check.created_at + timedelta(hours=2)):
        services.run_checks()
    assert not DomainCheck.objects.exists()


class Stuck:
    """A server that accepts connections and never responds."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://localhost:{self.server.getsockname()[1]}"


@pytest.fixture
def stuck():
    made = Stuck()
    yield made
    made.server.close()


def test_a_slow_domain_times_out_and_blocks_no_other(
    bob, charlie, dapp, stuck, settings
):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, document_deadline_s=1)
    slow = [bob.get(f"/discover/dapp?url={stuck.url}/{n}") for n in range(3)]
    quick = charlie.get(f"/discover/dapp?url={dapp.url}")
    began = time.monotonic()
    assert services.run_checks() == 4
    assert time.monotonic() - began < 6, "two documents of one second, all at once"
    times = dict(DomainCheck.objects.values_list("url", "finished_at"))
    assert times[dapp.url] < min(times[f"{stuck.url}/{n}"] for n in range(3))
    assert "What may it send?" in text_of(charlie.follow(quick))
    page = text_of(bob.follow(slow[0]))
    assert "no whole answer within the deadline" in page
    assert f"Make {stuck.url}/0/.well-known/did.json reachable" in page


# --- what the page calls fine can be subscribed to ------------------------------------


def subscribe_as_shown(person, dapp):
    """Press Subscribe on the page of a dapp; the attempt, or None if it is not offered."""
    page = person.check(dapp.url)
    types = re.findall(r'name="type" value="([^"]*)" checked', page.text)
    if not types:
        return None
    person.post(
        "/discover/subscribe", url=dapp.url, account=person.account.pk, type=types
    )
    services.resolve_due()
    return SubscribeAttempt.objects.get()


def did_document(dapp):
    return json.loads(json.dumps(dapp.documents["/.well-known/did.json"]))


def _reversed(document):
    document["verificationMethod"].reverse()
    document["keyAgreement"] = ["#wc-notify-subscribe-key"]
    document["authentication"] = ["#wc-notify-authentication-key"]


def _more_keys(document):
    document["verificationMethod"].insert(0, {"id": "#s", "type": "EcdsaSecp256k1"})
    document["keyAgreement"].insert(0, "#s")


def _embedded(document):
    methods = document.pop("verificationMethod")
    document["keyAgreement"], document["authentication"] = methods[:1], methods[1:]
    document["verificationMethod"] = []


def _of_the_domain(document):
    document["id"] = "did:web:dapp.example"


@pytest.mark.parametrize(
    "change",
    [_reversed, _more_keys, _embedded, _of_the_domain, lambda d: d.pop("id")],
)
def test_a_valid_did_document_can_be_subscribed_to(bob, dapp, monkeypatch, change):
    document = did_document(dapp)
    change(document)
    config = {"/.well-known/wc-notify-config.json": dapp.config}
    found = {"/.well-known/did.json": document, **config}
    monkeypatch.setattr(type(dapp), "documents", property(lambda _: found))
    attempt = subscribe_as_shown(bob, dapp)
    assert attempt is not None
    assert attempt.state == "requested", attempt.reason


@pytest.mark.parametrize(
    "change",
    [
        {"types": [{"name": "alerts", "description": "Urgent.\nRead now."}]},
        {"types": [{"name": "alerts", "description": None}]},
        {"types": [{"name": "alerts", "description": "x" * 5000}]},
        {"types": [{"name": "alerts"}, {"name": "two words"}, 7]},
        {"types": [{"id": "u-u-i-d", "name": "Two\twords", "description": 7}]},
        {"types": [{"name": f"t{number}"} for number in range(20)]},
        {"types": [{"name": f"t{number}"} for number in range(100)]},
        {"types": [{"name": "alerts"}, {"name": "alerts"}]},
        {"description": "A dapp.\r\nSince 2020.", "icons": "none"},
        {"name": None, "description": None, "icons": None},
        {"name": "x" * 5000, "icons": [f"https://a.example/{n}" for n in range(40)]},
    ],
)
def test_a_valid_config_can_be_subscribed_to(bob, dapp, change):
    dapp.config = dapp.config | change
    attempt = subscribe_as_shown(bob, dapp)
    assert attempt is not None
    assert attempt.state == "requested", attempt.reason


@pytest.mark.parametrize("types", [[], None, "all", [{"name": "two words"}], [7]])
def test_an_invalid_config_is_not_offered(bob, dapp, types):
    dapp.config = dapp.config | {"types": types}
    assert subscribe_as_shown(bob, dapp) is None


def test_documents_are_decoded_as_browsers_do(bob, dapp, monkeypatch):
    real = json.dumps
    monkeypatch.setattr(
        "tests.subscriptions.world.json.dumps", lambda value: "\ufeff" + real(value)
    )
    attempt = subscribe_as_shown(bob, dapp)
    assert attempt.state == "requested", attempt.reason


def test_a_document_of_another_domain_is_refused(bob, dapp, monkeypatch):
    """Only at home may a document name the domain that it is made for."""
    monkeypatch.setattr("common.dapp_documents.is_exempt", lambda _: False)
    document = did_document(dapp)
    _of_the_domain(document)
    found = {**dapp.documents, "/.well-known/did.json": document}
    monkeypatch.setattr(type(dapp), "documents", property(lambda _: found))
    page = report(bob, dapp)
    assert "its id is did:web:dapp.example; did:web:localhost%3A" in page
    assert "What may it send?" not in page
    services.subscribe(bob.account, dapp.url, device=bob.device)
    services.resolve_due()
    attempt = SubscribeAttempt.objects.get()
    assert attempt.state == "rejected"
    assert attempt.reason.startswith("did.json: its id is did:web:dapp.example")


def test_at_most_fifteen_of_many_types_are_chosen(bob, dapp):
    names = [f"t{number}" for number in range(20)]
    dapp.config = dapp.config | {"types": [{"name": name} for name in names]}
    page = bob.check(dapp.url)
    assert "It offers 20 types. Choose at most 15." in text_of(page)
    assert len(re.findall(r'name="type" value="[^"]*" checked', page.text)) == 15
    answer = bob.post(
        "/discover/subscribe", url=dapp.url, account=bob.account.pk, type=names
    )
    assert "at most 15 types, and 20 are chosen. Switch 5 of them off." in text_of(
        bob.checked(answer)
    )
    assert not SubscribeAttempt.objects.exists()
    bob.post(
        "/discover/subscribe", url=dapp.url, account=bob.account.pk, type=names[5:]
    )
    services.resolve_due()
    assert SubscribeAttempt.objects.get().state == "requested"


def test_a_fixed_document_can_be_subscribed_to_at_once(bob, dapp):
    good = dapp.config
    dapp.config = {}
    services.look_up_dapp(dapp.url)
    assert "What may it send?" not in report(bob, dapp)
    dapp.config = good
    attempt = subscribe_as_shown(bob, dapp)
    assert attempt.state == "requested", attempt.reason


def test_types_that_were_added_meanwhile_can_be_subscribed_to(bob, dapp):
    services.look_up_dapp(dapp.url)
    dapp.config = dapp.config | {"types": [{"name": "brand-new"}]}
    attempt = subscribe_as_shown(bob, dapp)
    assert attempt.state == "requested", attempt.reason
    assert attempt.wanted_types == ["brand-new"]


def test_changed_keys_are_reported_before_anything_is_sent(bob, dapp):
    services.look_up_dapp(dapp.url)
    DappDocument.objects.update(public_key_x="00" * 32)
    page = report(bob, dapp)
    assert "the dapp's keys are not those that it had before" in page
    assert "What may it send?" not in page


def test_a_check_of_an_unknown_dapp_lists_it_nowhere(bob, charlie, dapp):
    assert subscribe_as_shown(bob, dapp) is not None
    DappDocument.objects.all().delete()
    SubscribeAttempt.objects.all().delete()
    report(bob, dapp)
    assert not DappDocument.objects.exists()


def test_a_dapp_registered_here_with_its_own_domain_is_checked(bob, dapp):
    create_project("Elsewhere", url=dapp.url, types=[TypeDraft("other")])
    page = report(bob, dapp)
    assert "Report on localhost" in page
    assert "alerts" in page
    assert "other" not in page
