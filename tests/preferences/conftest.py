"""Alice with two browsers that share stores, and another server of hers that sends to them."""

from __future__ import annotations

import json

import pytest

from common import clock
from keychain.services import Holder, sym_keys
from syncstore.models import Store, StoreEntry
from syncstore.names import PREFERENCES_STORE
from tests.dashboard.conftest import (  # noqa: F401  # fixtures
    alice,
    bob,
    dapp,
    notify,
    open_keychain,
    subscription,
)
from tests.syncstore.conftest import Peer, state_of

DAPP = "https://acme.example"


@pytest.fixture
def store(alice) -> Store:  # noqa: F811
    return Store.objects.get(account=alice.account, name=PREFERENCES_STORE)


@pytest.fixture
def other(store) -> Peer:
    """Another notifyweb server of the account: it has the same store key."""
    return Peer(store, sym_keys(Holder.WALLET, [store.topic])[store.topic])


def mute_until(until, at: int | None = None, by: str = "Phone · other.example") -> dict:
    return {"until": until, "at": clock.now_ms() if at is None else at, "by": by}


def blocked(at: int | None = None, *, on: bool = True, **more) -> dict:
    at = clock.now_ms() if at is None else at
    return {"on": on, "at": at, "by": "Phone · other.example"} | more


def stored(store: Store, key: str = DAPP) -> dict:
    """The document that the store has now."""
    return json.loads(state_of(store)[key])


def newest_id(store: Store) -> int:
    return StoreEntry.objects.filter(store=store).latest("last_id").last_id
