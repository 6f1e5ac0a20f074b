"""Alice with two browsers, subscribed to a dapp, as in the tests of pages."""

from __future__ import annotations

import io
import json

import pytest

from keychain.passphrase import COST
from portability.services.export import export_account
from portability.services.importing import import_file
from tests.dashboard.conftest import (  # noqa: F401  # fixtures
    alice,
    charlie,
    dapp,
    notify,
    open_keychain,
    stranger,
    subscription,
)

PASSPHRASE = "correct horse battery"


@pytest.fixture(autouse=True)
def loopback_is_allowed(settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.1", "localhost"]


@pytest.fixture(autouse=True)
def cheap_passphrases(monkeypatch):
    """A derivation that takes a millisecond; ``tests/keychain`` has that of users."""
    monkeypatch.setitem(COST, "n", 2)


def exported(account, passphrase: str = PASSPHRASE) -> bytes:
    return b"".join(export_account(account, passphrase=passphrase))


def values_of(content: bytes) -> list[dict]:
    return [json.loads(line) for line in content.splitlines()]


def file_of(values: list[dict]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def imported(content: bytes, account, passphrase: str = PASSPHRASE, **more):
    accounts = type(account).objects.of_user(account.user_id)
    return import_file(io.BytesIO(content), accounts, passphrase=passphrase, **more)
