"""Paths with doubled or trailing slashes, as base URLs with a slash produce."""

from __future__ import annotations

import json

import pytest
from django.test import Client

from castserver.models import Notification
from castserver.services.projects.projects import TypeDraft, create_project
from keychain import services as keychain
from notifyweb.middleware import plain_path
from tests.castserver.conftest import notification

pytestmark = pytest.mark.django_db
HOST = "http://testserver"

READ = [
    "/health",
    "/healthz",
    "/history/health",
    "/identity?publicKey=z6Mk",
    "/invite?account=eip155:1:0x",
    "/history/messages?topic=" + "a" * 64,
    "/.well-known/did.json",
    "/cast/.well-known/did.json",
    "/cast/w3i/v1/notify-config?appDomain=none.example.org",
    "/cast/health",
    "/cast/{id}/subscribers",
    "/cast/subscribe-topic",
    "/cast/v0/{id}/authentication-key",
    "/cast/{id}/webhooks",
    "/dapps/{slug}/.well-known/did.json",
    "/dapps/{slug}/.well-known/wc-notify-config.json",
]
WRITTEN = [
    ("/identity", {"cacao": {}}),
    ("/history/register", {"tags": ["4002"]}),
    ("/cast/{id}/notify", {"notification": notification(), "accounts": []}),
    ("/cast/notify", {"notification": notification(), "accounts": []}),
    ("/cast/v1/{id}/notify", [{"notification": notification(), "accounts": []}]),
    ("/cast/v1/{id}/subscribers", {"accounts": ["eip155:1:0x"]}),
    ("/cast/{id}/subscribe-topic", {}),
    (
        "/cast/{id}/register-webhook",
        {"events": ["subscribed"], "url": "https://dapp.example.org/hook"},
    ),
]


@pytest.fixture
def dapp(redis_client):
    keychain.ensure_canary()
    return create_project("Dapp", types=[TypeDraft("alerts")])


def respelled(path):
    path, mark, query = path.partition("?")
    first, _, rest = path[1:].partition("/")
    for other in (f"{path}/", f"{path}//", f"/{path}", f"/{first}///{rest}"):
        yield f"{HOST}{other}{mark}{query}"


def answer_of(method, url, dapp, body=None):
    project, secret = dapp
    response = Client().generic(
        method,
        url.replace("{id}", project.pk).replace("{slug}", project.slug),
        body or "",
        content_type="application/json",
        headers={"Authorization": f"Bearer {secret}"},
    )
    return response.status_code, response.headers.get("Content-Type")


@pytest.mark.parametrize("path", READ)
def test_a_read_gets_the_same_response(dapp, path):
    expected = answer_of("GET", HOST + path, dapp)
    assert expected[0] in {200, 400, 404}
    assert "json" in expected[1]
    for url in respelled(path):
        assert answer_of("GET", url, dapp) == expected, url


@pytest.mark.parametrize(("path", "body"), WRITTEN)
def test_a_write_keeps_its_body(dapp, path, body):
    text = json.dumps(body)
    expected = answer_of("POST", HOST + path, dapp, text)
    for url in respelled(path):
        assert answer_of("POST", url, dapp, text) == expected, url


def test_both_paths_share_an_idempotency_key(dapp):
    project, secret = dapp
    for path in ("notify", "notify/", "/notify"):
        response = Client().post(
            f"/cast/{project.pk}/{path}",
            {"notification": notification(), "accounts": []},
            content_type="application/json",
            headers={"Authorization": f"Bearer {secret}", "Idempotency-Key": "one"},
        )
        assert response.status_code == 200
    assert response.headers["Idempotent-Replayed"] == "true"
    assert Notification.objects.count() == 1


def test_an_unknown_path_is_still_not_found():
    for path in ("/nothing//here/", "/cast/nothing/", "/console//nothing//here/"):
        assert Client().get(HOST + path).status_code == 404


@pytest.mark.parametrize(
    ("path", "plain"),
    [("/", "/"), ("//", "/"), ("/a/b", "/a/b"), ("//a///b//", "/a/b"), ("", "/")],
)
def test_the_plain_path(path, plain):
    assert plain_path(path) == plain
