"""What these tests share: the vectors, wallets' CACAOs, and other Keys Servers."""

from __future__ import annotations

import dataclasses
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from common import clock
from common.limits import Bucket
from tests.cacaos import identity_payload
from walletconnect.crypto.signing import IdentityKey
from walletconnect.identity.cacao import Cacao, build_message
from walletconnect.identity.did import AccountId
from walletconnect.identity.jwt import sign_did_jwt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.test import Client

    from tests.people import Wallet

VECTORS = Path(__file__).parent.parent / "vectors"
KEYS_SERVER = "http://localhost:8000"
NONCE = "0" * 64


def vector_file(name: str) -> dict:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def identity_key(number: int) -> IdentityKey:
    return IdentityKey.from_seed(bytes([number]) * 32)


def cacao_of(
    wallet: Wallet, key: IdentityKey, *, keys_server: str = KEYS_SERVER
) -> Cacao:
    """What an August client registers for ``key``."""
    payload = identity_payload(
        AccountId.parse(wallet.account),
        identity_key=key.did,
        keys_server_url=keys_server,
        nonce=NONCE,
        now=clock.now_s(),
    )
    return Cacao.signed(payload, wallet.sign(build_message(payload)))


def token(wallet: Wallet, key: IdentityKey, **changes: object) -> str:
    """An unregister token as the clients make it: in milliseconds."""
    now = clock.now_ms()
    claims = {
        "iat": now,
        "exp": now + 86_400_000,
        "iss": key.did,
        "aud": KEYS_SERVER,
        "pkh": f"did:pkh:{wallet.account}",
        "act": "unregister_identity",
        "sub": "identity_keys",
    }
    return sign_did_jwt(claims | changes, key)


def send(client: Client, method: str, path: str, body: object) -> tuple[int, dict]:
    """A call as ``ident`` makes it, and its answer."""
    answer = client.generic(
        method, path, json.dumps(body), content_type="application/json"
    )
    return answer.status_code, answer.json()


@pytest.fixture(autouse=True)
def roomy_limits(settings) -> None:
    """Every test calls from the same address; only one of them is about that."""
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, identity_register=Bucket(100_000, 1_000)
    )


@dataclass
class OtherKeysServer:
    """Another Keys Server: sends prepared answers and records the requests.

    ``answers`` are (status, body) in order; the last one stays.
    """

    url: str = ""
    answers: list[tuple[int, object]] = field(default_factory=lambda: [(200, {})])
    received: list[tuple[str, str, dict]] = field(default_factory=list)

    def next_answer(self) -> tuple[int, bytes]:
        last = len(self.answers) == 1
        status, body = self.answers[0] if last else self.answers.pop(0)
        return status, body if isinstance(body, bytes) else json.dumps(body).encode()

    def knows(self, cacao: Cacao) -> None:
        value = {"status": "SUCCESS", "error": None}
        self.answers = [(200, value | {"value": {"cacao": cacao.to_value()}})]

    def knows_nothing(self) -> None:
        self.answers = [(404, {"status": "FAILURE", "error": {}, "value": None})]


def _handler(server: OtherKeysServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            server.received.append((self.command, self.path, body))
            status, content = server.next_answer()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def start_keys_server(settings) -> Iterator[Callable[[], OtherKeysServer]]:
    """``start_keys_server()``: another Keys Server, on the allow-list."""
    running = []

    def start() -> OtherKeysServer:
        server = OtherKeysServer()
        http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        running.append((http, thread))
        server.url = f"http://localhost:{http.server_port}"
        settings.ALLOWED_KEYS_SERVERS = [*settings.ALLOWED_KEYS_SERVERS, server.url]
        return server

    yield start
    for http, thread in running:
        http.shutdown()
        thread.join()
        http.server_close()


@pytest.fixture
def other_keys_server(start_keys_server) -> OtherKeysServer:
    return start_keys_server()


@pytest.fixture
def registered_elsewhere(other_keys_server, settings) -> OtherKeysServer:
    """Our devices' keys are registered at another Keys Server."""
    settings.KEYS_SERVER_URL = other_keys_server.url
    settings.KEYS_SERVER_IS_OURS = False
    return other_keys_server
