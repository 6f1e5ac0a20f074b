"""Access rules: every URL declares one, and objects of other users are not found."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from django.urls import URLPattern, reverse

from dashboard import urls
from dashboard.access import ACCESS_RULE, Rule

if TYPE_CHECKING:
    from django.test import Client

SOME = {
    "pk": 4711,
    "topic": "0" * 64,
    "slug": "nothing",
    "number": 1,
    "attempt_id": uuid.UUID(int=1),
    "check_id": uuid.UUID(int=1),
    "device_id": uuid.UUID(int=1),
    "notification_id": uuid.UUID(int=1),
    "webhook_id": uuid.UUID(int=1),
    "delivery_id": uuid.UUID(int=1),
    "submission_id": uuid.UUID(int=1),
    "forward_id": uuid.UUID(int=1),
    "import_id": uuid.UUID(int=1),
    "list_id": uuid.UUID(int=1),
    "template_id": uuid.UUID(int=1),
    "invitation_id": uuid.UUID(int=1),
    "step": "types",
    "name": "did.json",
    "token": "no-such-token",
    "language": "xx",
}
PATTERNS = {pattern.name: pattern for pattern in urls.urlpatterns}


def rule_of(pattern: URLPattern) -> Rule:
    return getattr(pattern.callback, ACCESS_RULE)


def path_of(pattern: URLPattern) -> str:
    names = pattern.pattern.converters
    return reverse(f"dashboard:{pattern.name}", kwargs={n: SOME[n] for n in names})


def test_every_url_declares_its_access_rule():
    assert all(isinstance(rule_of(each), Rule) for each in urls.urlpatterns)


def test_only_signing_in_and_the_first_page_are_public():
    public = {name for name, each in PATTERNS.items() if rule_of(each) is Rule.PUBLIC}
    assert public == {
        "catalog",
        "landing",
        "problem",
        "problems",
        "dapp",
        "digest-confirm",
        "digest-stop",
        "manifest",
        "offline",
        "service-worker",
        "join",
        "sign-in",
        "sign-in-begin",
        "sign-in-phone",
        "sign-in-phone-code",
        "sign-in-phone-end",
        "sign-in-prove",
        "sign-text",
        "theme",
    }


@pytest.mark.parametrize(
    "name", [n for n, each in PATTERNS.items() if rule_of(each) is not Rule.PUBLIC]
)
def test_an_anonymous_user_is_redirected_to_sign_in(stranger, name):
    path = path_of(PATTERNS[name])
    response = stranger.get(path)
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/signin?next=")


@pytest.mark.parametrize(
    "name", [n for n, each in PATTERNS.items() if each.pattern.converters]
)
def test_unknown_objects_are_not_found(charlie, name):
    path = path_of(PATTERNS[name])
    charlie.get("/settings")
    statuses = {charlie.get(path).status_code, charlie.post(path).status_code}
    assert statuses <= {404, 405}
    assert 404 in statuses


def test_forms_without_their_token_change_nothing(charlie):
    client: Client = charlie.browser.client
    response = client.post("/signout", {}, HTTP_ACCEPT="text/html")
    assert response.status_code == 403
    assert charlie.get("/inbox").status_code == 200


def test_objects_of_another_user_are_not_found(alice, charlie, subscription, notify):
    record = notify()
    attempt = subscription.attempts.get()
    shown = [
        f"/inbox/{record.pk}",
        f"/inbox/{record.pk}/actions",
        f"/subscriptions/{subscription.topic}",
        f"/subscriptions/attempt/{attempt.pk}",
        f"/inbox?account={alice.account.pk}",
        f"/signin/share?account={alice.account.pk}",
    ]
    assert {alice.get(path).status_code for path in shown} == {200}
    assert {charlie.get(path).status_code for path in shown} == {404}


def test_objects_of_another_user_cannot_be_changed(
    alice, charlie, subscription, notify
):
    record = notify()
    device = alice.device
    posts = [
        (f"/subscriptions/{subscription.topic}/update", {"type": "news"}),
        (f"/subscriptions/{subscription.topic}/delete", {}),
        (f"/subscriptions/{subscription.topic}/keys", {}),
        (f"/devices/{device.pk}/rename", {"name": "mine"}),
        (f"/devices/{device.pk}/revoke", {}),
        (f"/settings/accounts/{alice.account.pk}", {"label": "mine"}),
        (f"/settings/accounts/{alice.account.pk}/remove", {"confirm": "yes"}),
        ("/inbox/act", {"act": f"archive:{record.pk}"}),
    ]
    charlie.get("/settings")
    statuses = {charlie.post(path, **fields).status_code for path, fields in posts}
    assert statuses == {404}
    for row in (record, subscription, device, alice.account):
        row.refresh_from_db()
    assert record.archived_at is None
    assert subscription.deleted_at is None
    assert device.revoked_at is None
    assert device.name == "Firefox · Mac"


def test_private_pages_are_not_cached(alice):
    assert "no-store" in alice.get("/inbox").headers["Cache-Control"]


def test_a_revoked_device_is_out_at_once(alice):
    first, second = alice.browsers
    gone = second.device
    first.get("/devices")
    first.post(f"/devices/{gone.pk}/revoke")
    assert second.get("/inbox").status_code == 302
    assert first.get("/inbox").status_code == 200


@pytest.mark.parametrize(
    "path", ["/inbox?q=%00", "/signin?next=a%00b", "/subscriptions/%00"]
)
def test_an_address_with_a_zero_character_names_nothing(alice, stranger, path):
    for browser in (alice, stranger):
        answer = browser.get(path)
        assert answer.status_code == 400
        assert "text/html" in answer.headers["Content-Type"]


@pytest.mark.parametrize(
    "wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "inbox"]
)
def test_redirects_stay_on_this_site(alice, wanted):
    alice.get("/settings")
    response = alice.post("/settings/look", theme="dark", next=wanted)
    assert response.headers["Location"] == "/"
