"""A dapp with its own Cast Server, made of the protocol core: real documents over HTTP,
real keys, real answers. Only the relay is missing: the dapp reads the wallet's outbox rows,
and its messages are stored in the wallet's inbox.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from django.conf import settings

from common import clock, entropy
from identity import services as identity
from messaging import services as messaging
from messaging.models import InboxMessage, OutboxMessage, Party
from walletconnect.crypto.envelope import Envelope, open_envelope, seal
from walletconnect.crypto.keys import KeyPair, SymKey, derive_sym_key, topic_of
from walletconnect.crypto.signing import IdentityKey
from walletconnect.identity.did import AccountId, AppUrl, DidWebDocument
from walletconnect.identity.jwt import DidJwt
from walletconnect.notify import methods
from walletconnect.notify.answers import (
    publish_error,
    publish_request,
    token_of_request,
)
from walletconnect.notify.claims import MessageAuth, SubscriptionAuth
from walletconnect.notify.parties import DappIdentity
from walletconnect.notify.subscribe import answer_subscription
from walletconnect.notify.update import answer_update
from walletconnect.notify.values import NotifyMessage
from walletconnect.relay.rpc import parse

if TYPE_CHECKING:
    from accounts.models import Account

# --- messages -------------------------------------------------------------------------


def sent(tag: int | None = None) -> list[OutboxMessage]:
    """The rows of the wallet's outbox."""
    rows = OutboxMessage.objects.filter(party=Party.WALLET).order_by("pk")
    return list(rows if tag is None else rows.filter(tag=tag))


def receive(*messages: tuple[str, str, int]) -> list[int]:
    """Store (topic, message, tag) in the wallet's inbox, as the gateway does."""
    return messaging.receive(
        Party.WALLET,
        [
            messaging.Received(topic, message, int(tag), clock.now_ms())
            for topic, message, tag in messages
        ],
    )


def deliver(*messages: tuple[str, str, int]) -> list[InboxMessage]:
    """Receive and handle messages."""
    pks = receive(*messages)
    assert messaging.handle_due(20.0) is False
    return list(InboxMessage.objects.filter(pk__in=pks).order_by("pk"))


def send_as_peer(sym_key: SymKey, payload: dict | str, tag: int) -> list[InboxMessage]:
    """Deliver a payload that is sealed with a topic's key, as any peer may send it."""
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return deliver((sym_key.topic, seal(text, sym_key, iv=entropy.iv()), tag))


# --- the dapp -------------------------------------------------------------------------

TYPES = [
    {"name": "alerts", "description": "Urgent"},
    {"name": "news", "description": "What is new"},
    {"name": "gm_hourly", "description": "gm"},
]


class DocumentServer:
    """Serves ``documents`` over HTTP on its own port. Tests change ``status``, ``body``."""

    def __init__(self) -> None:
        self.status = 200
        self.body: bytes | None = None
        self.hits: list[str] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.hits.append(self.path)
                found = owner.documents.get(self.path)
                body = json.dumps(found).encode() if owner.body is None else owner.body
                self.send_response(owner.status if found is not None else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            # A short poll interval, so that closing is quick.
            target=self._server.serve_forever,
            args=(0.02,),
            daemon=True,
        )
        self._thread.start()
        self.url = f"http://localhost:{self._server.server_address[1]}"

    @property
    def documents(self) -> dict[str, object]:
        raise NotImplementedError

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Dapp(DocumentServer):
    """A dapp with its documents. Tests change ``config``, ``key_pair_x`` and so on."""

    def __init__(self, name: str = "dapp") -> None:
        self.key_pair_x = KeyPair.from_private(name.encode().ljust(32, b"x"))
        self.key = IdentityKey.from_seed(name.encode().ljust(32, b"k"))
        self.config: object = {"version": 1, "lastModified": 1, "types": TYPES}
        self.keys: dict[str, SymKey] = {}
        super().__init__()

    @property
    def documents(self) -> dict[str, object]:
        did = AppUrl.parse(self.url).did
        document = DidWebDocument(did, self.key_pair_x.public_key, self.key.public_key)
        return {
            "/.well-known/did.json": document.to_value(),
            "/.well-known/wc-notify-config.json": self.config,
        }

    # The dapp's Cast Server.

    @property
    def identity(self) -> DappIdentity:
        return DappIdentity(
            AppUrl.parse(self.url),
            self.key,
            self.key_pair_x,
            frozenset({settings.KEYS_SERVER_URL}),
        )

    def requests(self) -> list[OutboxMessage]:
        """The subscribe requests to it."""
        return [
            row
            for row in sent(methods.SUBSCRIBE.tag)
            if row.topic == self.key_pair_x.topic
        ]

    def opened(self, row: OutboxMessage):
        envelope = Envelope.decode(row.message)
        sym_key_s = envelope.derive_sym_key(self.key_pair_x)
        return parse(envelope.open(sym_key_s)), envelope.sender_public_key, sym_key_s

    def claims(self, row: OutboxMessage) -> SubscriptionAuth:
        request, _, _ = self.opened(row)
        return SubscriptionAuth.read(
            token_of_request(request, methods.SUBSCRIBE), now=clock.now_s()
        )

    def answer(self, **changes) -> tuple[str, str, int]:
        """Its answer to the last request, as a message to deliver; keeps P."""
        row = self.requests()[-1]
        request, public_key_y, _ = self.opened(row)
        did = DidJwt.parse(token_of_request(request, methods.SUBSCRIBE)).iss
        arguments = {
            "topic": topic_of(self.key_pair_x.public_key),
            "public_key_y": public_key_y,
            "identity": identity.known_identity(did),
            "key_pair_z": KeyPair.from_private(entropy.key_bytes()),
            "iv": entropy.iv(),
            "now": clock.now_s(),
        }
        made = answer_subscription(request, self.identity, **(arguments | changes))
        self.keys[str(made.account)] = made.sym_key_p
        self.subscription_hash = made.subscription_hash
        return made.publish.topic, made.publish.message, made.publish.tag

    def refusal(self, error) -> tuple[str, str, int]:
        request, public_key_y, _ = self.opened(self.requests()[-1])
        made = publish_error(
            methods.SUBSCRIBE,
            error,
            request_id=request.id,
            sym_key=derive_sym_key(self.key_pair_x, public_key_y),
            iv=entropy.iv(),
        )
        return made.topic, made.message, made.tag

    def key_of(self, account: Account) -> SymKey:
        return self.keys[account.address]

    def last_on(self, sym_key: SymKey, tag: int):
        """The last request that the wallet side sent on the topic of a key."""
        rows = [row for row in sent(tag) if row.topic == sym_key.topic]
        assert rows, "nothing was sent on this topic"
        return parse(open_envelope(rows[-1].message, sym_key))

    def answer_update(self, account: Account) -> tuple[str, str, int]:
        sym_key = self.key_of(account)
        request = self.last_on(sym_key, methods.UPDATE.tag)
        did = DidJwt.parse(token_of_request(request, methods.UPDATE)).iss
        made = answer_update(
            request,
            self.identity,
            sym_key_p=sym_key,
            account=AccountId.parse(account.address),
            identity=identity.known_identity(did),
            iv=entropy.iv(),
            now=clock.now_s(),
        )
        return made.publish.topic, made.publish.message, made.publish.tag

    def notification(
        self,
        account: Account,
        *,
        key=None,
        request_id=None,
        now=None,
        sym_key=None,
        sub=None,
        **texts,
    ) -> tuple[str, str, int]:
        """A notification for an account, as a message to deliver.

        Each has a ``sub`` of its own: the same token twice would be one notification.
        """
        note = NotifyMessage(
            **({"title": "Hello", "body": "World é 😀", "type": "alerts"} | texts)
        )
        key, now = key or self.key, now or clock.now_s()
        auth = MessageAuth(
            iat=now,
            exp=now + methods.MESSAGE.ttl,
            iss=key.did,
            aud=AccountId.parse(account.address).did,
            sub=sub or entropy.token_hex(32),
            app=self.url,
            msg=note.to_value(),
        )
        made = publish_request(
            methods.MESSAGE,
            auth.sign(key),
            request_id=request_id or clock.payload_id(),
            sym_key=sym_key or self.key_of(account),
            iv=entropy.iv(),
        )
        return made.topic, made.message, made.tag
