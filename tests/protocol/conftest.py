"""Both sides of the protocol over the real embedded relay and the real gateway.

The relay is a process, the gateway a thread with one connection per party. The worker is
the test itself: it does what is due until what it waits for is true, so that a test can
stop the worker, the gateway or the relay at any moment.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from castserver.services.notifications.notify import notify as notify_accounts
from castserver.services.projects import documents as cast_documents
from castserver.services.projects.projects import TypeDraft, create_project
from messaging import services as messaging
from messaging.models import Party
from subscriptions import services as wallet
from syncstore import services as sync
from tests.messaging.conftest import (
    local_relay,
    start_gateway,
    start_program,
    start_relay,
)
from tests.people import Person, sign_in_person
from walletconnect.notify.values import NotifyMessage

__all__ = ["local_relay", "start_gateway", "start_program", "start_relay"]

BOTH = (Party.WALLET, Party.CAST)


def work() -> None:
    """One round of what workers and the clock do."""
    messaging.sweep()
    messaging.handle_due(5.0)
    wallet.resolve_due()
    while sync.cold_start():
        pass
    wallet.learn_dapps()
    wallet.replay_due()


def until(condition, *, what: str, seconds: float = 30.0):
    """Work until ``condition`` is true; what it returned."""
    end = time.monotonic() + seconds
    while True:
        work()
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.02)


class Website:
    """The dapp's own domain, serving what the Cast Server has it serve."""

    def __init__(self) -> None:
        self.project = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://localhost:{self._server.server_address[1]}"
        self.documents: dict[str, bytes] = {}

    def publish(self, project) -> None:
        types = project.types.all()
        self.documents = {
            f"/.well-known/{name}": json.dumps(document).encode()
            for name, document in (
                ("did.json", cast_documents.did_document(project)),
                ("wc-notify-config.json", cast_documents.notify_config(project, types)),
            )
        }

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = site.documents.get(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture
def project(transactional_db, redis_client):
    from keychain.services import ensure_canary

    ensure_canary()
    site = Website()
    made, _ = create_project(
        "Acme DAO",
        url=site.url,
        types=[TypeDraft("alerts", "Urgent"), TypeDraft("news", "What is new")],
    )
    site.publish(made)
    yield made
    site.close()


@pytest.fixture
def alice(project) -> Person:
    person = sign_in_person("alice", devices=2)
    sync.enable_sync(person.account, person.sync_signature, person.device)
    return person


@pytest.fixture
def charlie(project) -> Person:
    return sign_in_person("charlie")


@pytest.fixture
def network(project, local_relay, start_gateway):
    """The relay, and our clients of it."""
    start_gateway(local_relay, BOTH)
    return local_relay


def notify(project, person: Person, title: str = "Hello", type_: str = "alerts"):
    draft = NotifyMessage(type=type_, title=title, body="World é 😀")
    return notify_accounts(project, draft, [person.account.address])
