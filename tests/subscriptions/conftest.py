"""Alice with two devices, Bob, Charlie who must see nothing, and a dapp."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keychain.services import ensure_canary
from subscriptions import services
from tests.people import sign_in_person
from tests.subscriptions.world import Dapp, deliver

if TYPE_CHECKING:
    from subscriptions.models import SubscribeAttempt, Subscription
    from tests.people import Person


@pytest.fixture(autouse=True)
def open_keychain(db, redis_client):
    ensure_canary()


@pytest.fixture
def alice():
    return sign_in_person("alice", devices=2)


@pytest.fixture
def bob():
    return sign_in_person("bob")


@pytest.fixture
def charlie():
    return sign_in_person("charlie")


@pytest.fixture
def dapp():
    made = Dapp()
    yield made
    made.close()


@pytest.fixture
def synced_alice(alice):
    from syncstore.services import enable_sync

    enable_sync(alice.account, alice.sync_signature, alice.device)
    return alice


def requested(person: Person, dapp: Dapp, **more) -> SubscribeAttempt:
    """A run up to the request, steps 1 to 7."""
    attempt = services.subscribe(person.account, dapp.url, device=person.device, **more)
    assert services.resolve_due() == 1
    attempt.refresh_from_db()
    return attempt


def subscribed(person: Person, dapp: Dapp, **more) -> Subscription:
    """A whole run."""
    attempt = requested(person, dapp, **more)
    deliver(dapp.answer())
    attempt.refresh_from_db()
    assert attempt.subscription is not None, attempt.reason
    return attempt.subscription


@pytest.fixture
def subscription(alice, dapp):
    return subscribed(alice, dapp)
