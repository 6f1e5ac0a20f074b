"""A hosted dapp with subscribers, and an external dapp that our user subscribed to."""

from __future__ import annotations

import pytest

from castserver.services.projects.projects import TypeDraft, create_project
from castserver.services.projects.server_keys import public_keys
from keychain.services import ensure_canary
from syncstore.services import enable_sync
from tests.castserver.world import Wallet
from tests.people import sign_in_person
from tests.subscriptions.world import Dapp

TYPES = (TypeDraft("alerts", "Urgent"), TypeDraft("news", "What is new"))


@pytest.fixture(autouse=True)
def open_keychain(db, redis_client):
    ensure_canary()
    # Created on first use, so before the tables are compared.
    public_keys()


@pytest.fixture
def project():
    made, _ = create_project("Dapp", url="https://dapp.example.org", types=TYPES)
    return made


@pytest.fixture
def other_project():
    made, _ = create_project("Other", url="https://other.example.org", types=TYPES)
    return made


@pytest.fixture
def alice():
    return Wallet("alice").register()


@pytest.fixture
def bob():
    return Wallet("bob").register()


@pytest.fixture
def dapp():
    """A dapp outside this server, built from the protocol core."""
    made = Dapp()
    yield made
    made.close()


@pytest.fixture
def person():
    """A user signed in in two browsers, with Sync enabled."""
    found = sign_in_person("alice", devices=2)
    enable_sync(found.account, found.sync_signature, found.device)
    return found
