"""Alice with two devices, Bob, Charlie; and a dapp with three types."""

from __future__ import annotations

import pytest
from django.test import Client

from castserver.services.projects.projects import TypeDraft, create_project
from keychain import services as keychain
from tests.castserver.world import Wallet

TYPES = (
    TypeDraft("alerts", "Urgent"),
    TypeDraft("news", "What is new"),
    TypeDraft("gm_hourly", "gm"),
)


@pytest.fixture(autouse=True)
def open_keychain(db, redis_client):
    keychain.ensure_canary()


@pytest.fixture(autouse=True)
def own_urls(settings):
    settings.ROOT_URLCONF = "tests.castserver.urls"


@pytest.fixture
def made():
    return create_project("Dapp", url="https://dapp.example.org", types=TYPES)


@pytest.fixture
def project(made):
    return made[0]


@pytest.fixture
def secret(made):
    return made[1]


@pytest.fixture
def api(project, secret):
    return Caller(project, secret)


@pytest.fixture
def alice():
    return Wallet("alice").register()


@pytest.fixture
def alice_laptop():
    return Wallet("alice", "laptop").register()


@pytest.fixture
def bob():
    return Wallet("bob").register()


@pytest.fixture
def charlie():
    return Wallet("charlie").register()


class Caller:
    """A dapp's backend."""

    def __init__(self, project, secret, prefix=None):
        self.client = Client()
        self.secret = secret
        self.prefix = f"/cast/{project.pk}" if prefix is None else prefix

    def call(self, method, path, body=None, *, headers=None, raw=None):
        content = raw
        if raw is None and body is not None:
            import json

            content = json.dumps(body)
        address = path if path.startswith("/") else f"{self.prefix}/{path}"
        return self.client.generic(
            method,
            address,
            content or "",
            content_type="application/json",
            headers={"Authorization": f"Bearer {self.secret}"} | (headers or {}),
        )

    def get(self, path, **options):
        return self.call("GET", path, **options)

    def post(self, path, body=None, **options):
        return self.call("POST", path, body, **options)

    def put(self, path, body=None, **options):
        return self.call("PUT", path, body, **options)

    def delete(self, path, **options):
        return self.call("DELETE", path, **options)


def notification(**changes):
    return {
        "type": "alerts",
        "title": "Hello",
        "body": "World é 😀",
        "icon": "https://dapp.example.org/icon.png",
        "url": "https://dapp.example.org",
    } | changes
