"""A Cast Server of protocol v1, made of the protocol core: a did.json over HTTP, its own
keys, answers to watches, and announcements. Tests deliver its messages themselves.
"""

from __future__ import annotations

from django.conf import settings

from common import clock, entropy
from identity import services as identity
from tests.subscriptions.world import Dapp, DocumentServer, sent
from walletconnect.crypto.envelope import Envelope, seal
from walletconnect.crypto.keys import KeyPair, SymKey
from walletconnect.crypto.signing import IdentityKey
from walletconnect.identity.did import AccountId, AppUrl, DidWebDocument
from walletconnect.notify import methods
from walletconnect.notify.answers import token_of_request
from walletconnect.notify.message import MessageBatch, Recipient
from walletconnect.notify.server_subscription import ServerSubscription
from walletconnect.notify.values import NotifyMessage
from walletconnect.notify.watch import (
    NotifyServer,
    Watcher,
    announce_changes,
    answer_watch,
)
from walletconnect.notify.watch_claims import WatchSubscriptionsAuth
from walletconnect.relay.rpc import JsonRpcError, parse

DAY = 24 * 60 * 60


class CastServer(DocumentServer):
    """Tests change ``key``, ``key_pair`` and ``status``."""

    def __init__(self, name: str = "cast server") -> None:
        self.key = IdentityKey.from_seed(name.encode().ljust(32, b"k"))
        self.key_pair = KeyPair.from_private(name.encode().ljust(32, b"x"))
        self.watcher: Watcher | None = None
        super().__init__()

    @property
    def documents(self) -> dict[str, object]:
        did = AppUrl.parse(self.url).did
        document = DidWebDocument(did, self.key_pair.public_key, self.key.public_key)
        return {"/.well-known/did.json": document.to_value()}

    @property
    def identity(self) -> NotifyServer:
        return NotifyServer(
            self.key, self.key_pair, frozenset({settings.KEYS_SERVER_URL})
        )

    # Requests -------------------------------------------------------------

    def requests(self):
        """The watch requests to it: rows of the wallet's outbox."""
        rows = sent(methods.WATCH.tag)
        return [row for row in rows if row.topic == self.key_pair.topic]

    def opened(self, row):
        envelope = Envelope.decode(row.message)
        sym_key = envelope.derive_sym_key(self.key_pair)
        return parse(envelope.open(sym_key)), envelope.sender_public_key, sym_key

    def claims(self, row=None) -> WatchSubscriptionsAuth:
        request, _, _ = self.opened(row or self.requests()[-1])
        token = token_of_request(request, methods.WATCH)
        return WatchSubscriptionsAuth.read(token, now=clock.now_s())

    # Messages -------------------------------------------------------------

    def answer(self, *listed: ServerSubscription, row=None):
        """Its answer to the last watch, as a message to deliver."""
        row = row or self.requests()[-1]
        request, sender, _ = self.opened(row)
        made = answer_watch(
            request,
            self.identity,
            topic=self.key_pair.topic,
            sender_public_key=sender,
            identity=identity.known_identity(self.claims(row).iss),
            subscriptions=listed,
            iv=entropy.iv(),
            now=clock.now_s(),
        )
        self.watcher = made.watcher
        return made.publish.topic, made.publish.message, made.publish.tag

    def refusal(self, message: str):
        request, _, sym_key = self.opened(self.requests()[-1])
        text = JsonRpcError(request.id, -1, message).to_json()
        tag = methods.WATCH.response_tag
        return sym_key.topic, seal(text, sym_key, iv=entropy.iv()), tag

    def announcement(self, *listed, watcher=None, signer=None, now=None):
        """A list to deliver to the watcher that was answered last."""
        made = announce_changes(
            watcher or self.watcher,
            signer or self.identity,
            subscriptions=listed,
            request_id=clock.payload_id(),
            iv=entropy.iv(),
            now=now or clock.now_s(),
        )
        return made.topic, made.message, made.tag


def listed(person, dapp: Dapp, letter: str = "p", **changes) -> ServerSubscription:
    """An element of the list: the person's subscription to the dapp."""
    values = {
        "app_domain": AppUrl.parse(dapp.url).domain,
        "app_authentication_key": dapp.key.did,
        "sym_key": SymKey(letter.encode() * 32),
        "account": AccountId.parse(person.account.address),
        "scope": ("alerts",),
        "expiry": clock.now_s() + 20 * DAY,
    }
    return ServerSubscription(**(values | changes))


def v1_notification(person, dapp: Dapp, entry: ServerSubscription, **texts):
    """A notification of protocol v1, as a message to deliver."""
    note = NotifyMessage(**({"title": "Later", "body": "on", "type": "alerts"} | texts))
    batch = MessageBatch.create(
        note,
        dapp.key,
        app=AppUrl.parse(dapp.url).did,
        now=clock.now_s(),
        sent_at=clock.now_ms(),
    )
    recipient = Recipient(
        AccountId.parse(person.account.address),
        entry.sym_key,
        clock.payload_id(),
        notification_id=f"note-{clock.payload_id()}",
    )
    made = batch.publication(recipient, iv=entropy.iv())
    return made.topic, made.message, made.tag
