"""Who takes part in the tests of the sync stores, and what a peer's wallet sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from common import clock, entropy
from keychain.services import Holder, ensure_canary, sym_keys
from messaging import services as messaging
from messaging.models import OutboxMessage, Party
from syncstore import services
from syncstore.models import Store, StoreEntry, StoreUpdate
from tests.people import Person, sign_in_person
from tests.syncstore.archive import Archive
from walletconnect.crypto.envelope import open_envelope, seal
from walletconnect.relay import rpc
from walletconnect.relay.methods import Tag
from walletconnect.sync.store import StoreDelete, StoreSet, parse_update, publish_update

if TYPE_CHECKING:
    from walletconnect.crypto.keys import SymKey


@pytest.fixture
def keychain(db: None) -> None:
    ensure_canary()


@pytest.fixture
def alice(keychain: None) -> Person:
    return sign_in_person("alice", devices=2)


@pytest.fixture
def bob(keychain: None) -> Person:
    return sign_in_person("bob")


@pytest.fixture
def charlie(keychain: None) -> Person:
    return sign_in_person("charlie")


@dataclass
class Peer:
    """Another wallet of the same account: it holds the store key and speaks for itself."""

    store: Store
    key: SymKey

    def send(self, *updates: StoreSet | StoreDelete) -> None:
        """Have the relay deliver these updates, and handle them."""
        self.deliver(*(self.message(update) for update in updates))

    def message(self, update: StoreSet | StoreDelete) -> tuple[str, int]:
        published = publish_update(update, self.key, iv=entropy.iv())
        return published.message, published.tag

    def deliver(self, *messages: tuple[str, int]) -> None:
        messaging.receive(
            Party.WALLET,
            [
                messaging.Received(self.key.topic, text, tag, clock.now_ms())
                for text, tag in messages
            ],
        )
        assert messaging.handle_due(10.0) is False

    def seal(self, text: str, *, tag: int = Tag.SYNC_SET) -> tuple[str, int]:
        return seal(text, self.key, iv=entropy.iv()), tag


@pytest.fixture
def store(alice: Person) -> Store:
    made, *_ = services.enable_sync(alice.account, alice.sync_signature, alice.device)
    return made


@pytest.fixture
def peer(store: Store, redis_client: object) -> Peer:
    return Peer(store, sym_keys(Holder.WALLET, [store.topic])[store.topic])


def state_of(store: Store) -> dict[str, str]:
    """What is in the store, opened."""
    from keychain.services import open_sealed

    return {
        entry.key: open_sealed(entry.context, entry.sealed_value).decode()
        for entry in StoreEntry.objects.filter(store=store, is_deleted=False)
    }


def last_ids_of(store: Store) -> dict[str, int]:
    return dict(StoreEntry.objects.filter(store=store).values_list("key", "last_id"))


def log_of(store: Store) -> list[tuple[str, int, str, str]]:
    rows = StoreUpdate.objects.filter(store=store).order_by("pk")
    return list(rows.values_list("key", "rpc_id", "outcome", "source"))


def published_on(peer: Peer) -> list[StoreSet | StoreDelete]:
    """What our side has put into its outbox for the store topic, opened."""
    rows = OutboxMessage.objects.filter(topic=peer.key.topic).order_by("pk")
    return [
        parse_update(rpc.parse(open_envelope(row.message, peer.key))) for row in rows
    ]


@pytest.fixture
def archive(settings):
    made = Archive()
    settings.HISTORY_SERVER_URL = made.url
    settings.HISTORY_SERVER_IS_OURS = False
    yield made
    made.close()
