"""Error pages, logs and reports of a defect that happens while secrets are at hand."""

from __future__ import annotations

import io
import json
import logging

import pytest

from alerts.services import forwarding
from notifyweb import logs, reports
from tests.dashboard.conftest import (  # noqa: F401  # fixtures
    alice,
    open_keychain,
)

RPC_URL = "https://rpc.example/zq9-planted-rpc-key"
PASSPHRASE = "zq9 planted passphrase"
TOKEN = "zq9-planted-token"
BEARER = "zq9-planted-bearer-secret"


class Defect(Exception):
    """No page handles this."""


@pytest.fixture
def defects(monkeypatch, settings):
    """The services fail after they have received the secrets of a form."""

    def fail(*args: object, **kwargs: object) -> None:
        held = [args, kwargs]
        raise Defect(f"while calling {RPC_URL} with {len(held)}")

    monkeypatch.setattr(forwarding, "add_forward", fail)
    monkeypatch.setattr("portability.services.export.export_account", fail)
    monkeypatch.setattr("castserver.views.api.find_secret", fail)
    monkeypatch.setattr(logs, "_hidden", {RPC_URL})
    settings.RPC_URLS = {1: RPC_URL}
    settings.OUTBOUND_ALLOW = ["127.0.0.1", "localhost"]


@pytest.fixture
def log():
    """What both formats of the log write."""
    written = io.StringIO()
    handlers = []
    for formatter in (logs.TextFormatter(), logs.JsonFormatter()):
        handlers.append(logging.StreamHandler(written))
        handlers[-1].setFormatter(formatter)
        logging.getLogger().addHandler(handlers[-1])
        logging.getLogger("django").addHandler(handlers[-1])
    yield written
    for handler in handlers:
        logging.getLogger().removeHandler(handler)
        logging.getLogger("django").removeHandler(handler)


def answers(person) -> list[str]:
    client = person.browser.client
    client.raise_request_exception = False
    person.get("/settings")
    form = {"csrfmiddlewaretoken": person.browser.token}
    forward = {"kind": "ntfy", "url": "https://ntfy.example/x", "token": TOKEN}
    export = {"passphrase": PASSPHRASE, "again": PASSPHRASE}
    found = [
        client.post("/settings/alerts/forwards", form | forward),
        client.post("/settings/data/export", form | export),
        client.get("/cast/subscribers", headers={"Authorization": f"Bearer {BEARER}"}),
    ]
    assert [each.status_code for each in found] == [500, 500, 500]
    return [each.text for each in found]


@pytest.mark.parametrize("debug", [False, True])
def test_error_pages_and_logs_hold_no_secret(alice, defects, settings, log, debug):  # noqa: F811
    settings.DEBUG = debug
    planted = [
        RPC_URL,
        PASSPHRASE,
        TOKEN,
        BEARER,
        alice.browser.session_key,
        settings.SECRET_KEY,
        *(each.partition(":")[2] for each in settings.KEYCHAIN_KEYS),
    ]
    pages = answers(alice)
    printed = log.getvalue()
    assert "Defect" in printed
    # The debug page is there, and without DEBUG nothing of the defect is.
    assert all(("while calling" in page) is debug for page in pages)
    for text in (*pages, printed):
        assert [secret for secret in planted if secret in text] == []


def test_reports_to_sentry_hold_no_secret(monkeypatch):
    monkeypatch.setattr(logs, "_hidden", {RPC_URL})
    event = {
        "message": f"while calling {RPC_URL}",
        "request": {
            "url": "https://site.example/x",
            "data": {"passphrase": PASSPHRASE},
            "cookies": {"sessionid": "s" * 20},
            "headers": {"Authorization": f"Bearer {BEARER}"},
            "query_string": f"token={TOKEN}",
        },
        "extra": {"token": TOKEN, "deep": [{"authorization": BEARER}]},
    }
    sent = json.dumps(reports._redacted(event, None))
    for secret in (RPC_URL, PASSPHRASE, TOKEN, BEARER, "s" * 20):
        assert secret not in sent
    assert "site.example" in sent
