"""Malformed documents of dapps, Keys Servers and Cast Servers.

A document is accepted, or refused with a reason on the attempt that needed it. Nothing is sent
to a dapp with a refused document, and pinned keys stay.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import random

import pytest
from django.db import transaction

from subscriptions import services
from subscriptions.models import DappDocument, SubscribeAttempt
from tests.hostile.mutations import change_once
from tests.hostile.unchanged import changed_since, contents
from tests.subscriptions.cast_server import CastServer
from tests.subscriptions.world import sent
from walletconnect.identity.did import AppUrl, DidWebDocument

ROUNDS = int(os.environ.get("HOSTILE_ROUNDS", "12"))
DID_JSON = "/.well-known/did.json"
CONFIG = "/.well-known/wc-notify-config.json"
# The attempt with its events, and the cached documents.
OF_THE_ATTEMPT = {
    "accounts_accountevent",
    "accounts_user",
    "runlog_steprecord",
    "subscriptions_dappdocument",
    "subscriptions_subscribeattempt",
}
LOW_ORDER = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def tried(person, dapp, monkeypatch, **documents):
    """Subscribe to a dapp with these documents; return the attempt."""
    found = {**dapp.documents, **documents}
    monkeypatch.setattr(type(dapp), "documents", property(lambda _: found))
    attempt = services.subscribe(person.account, dapp.url, device=person.device)
    services.resolve_due()
    attempt.refresh_from_db()
    return attempt


def did_json(dapp, **changes):
    did = AppUrl.parse(dapp.url).did
    document = DidWebDocument(did, dapp.key_pair_x.public_key, dapp.key.public_key)
    return {**document.to_value(), **changes}


def method(dapp, place, **jwk):
    """did.json with one member of one key changed."""
    document = copy.deepcopy(did_json(dapp))
    document["verificationMethod"][place]["publicKeyJwk"] |= jwk
    return document


FAULTS = {
    "nothing": lambda d: None,
    "a list": lambda d: [],
    "a text": lambda d: "did.json",
    "no keys": lambda d: did_json(d, verificationMethod=[]),
    "keys that are none": lambda d: did_json(d, verificationMethod=[7, None]),
    "one key of two": lambda d: did_json(
        d, verificationMethod=did_json(d)["verificationMethod"][:1]
    ),
    "a key that agrees on nothing": lambda d: method(d, 0, x=LOW_ORDER),
    "a key of another length": lambda d: method(d, 0, x="AAAA"),
    "a key in another alphabet": lambda d: method(d, 0, x="+/" * 21 + "A"),
    "a key of another curve": lambda d: method(d, 0, crv="P-256"),
    "a key that is a number": lambda d: method(d, 1, x=7),
    "the keys changed places": lambda d: (
        did_json(d, keyAgreement=[], authentication=[])
        | {"verificationMethod": did_json(d)["verificationMethod"][::-1]}
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_document_with_one_fault_is_refused_with_a_reason(
    person, dapp, monkeypatch, fault
):
    before = contents()
    attempt = tried(person, dapp, monkeypatch, **{DID_JSON: FAULTS[fault](dapp)})
    assert attempt.state == SubscribeAttempt.State.REJECTED
    assert attempt.reason.startswith("did.json: ")
    assert sent(4000) == []
    assert changed_since(before).keys() <= OF_THE_ATTEMPT


@pytest.mark.parametrize("path", [DID_JSON, CONFIG])
def test_mutated_documents(person, dapp, monkeypatch, caplog, path):
    order = random.Random(path)  # noqa: S311
    valid = dapp.documents[path]
    for _ in range(ROUNDS):
        changed = copy.deepcopy(valid)
        change_once(changed, order)
        with transaction.atomic(), caplog.at_level(logging.ERROR):
            attempt = tried(person, dapp, monkeypatch, **{path: changed})
            if attempt.state == SubscribeAttempt.State.REJECTED:
                assert attempt.reason.startswith(path.rpartition("/")[2]), changed
                assert sent(4000) == []
            else:
                assert attempt.state == SubscribeAttempt.State.REQUESTED, changed
                assert len(sent(4000)) == 1
            transaction.set_rollback(True)
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"<html>",
        b"[" * 30_000,
        b'{"verificationMethod": ' + b"[" * 20_000,
        b'{"a": "\\ud800"}',
        b'{"id": ' + b"9" * 10_000 + b"}",
        b" " * 70_000,
    ],
    ids=["nothing", "no text", "a page", "deep", "deeper", "half", "long", "too long"],
)
def test_other_bytes_are_refused(person, dapp, body):
    dapp.body = body
    attempt = services.subscribe(person.account, dapp.url, device=person.device)
    services.resolve_due()
    attempt.refresh_from_db()
    assert attempt.state == SubscribeAttempt.State.REJECTED
    assert attempt.reason.startswith("did.json: ")
    assert sent(4000) == []


def test_a_bad_document_does_not_replace_a_good_one(person, dapp, monkeypatch):
    good = services.look_up_dapp(dapp.url)
    assert good.public_key_x == dapp.key_pair_x.public_key.hex()
    monkeypatch.setattr(type(dapp), "documents", property(lambda _: {DID_JSON: {}}))
    DappDocument.objects.update(expires_at=good.checked_at)
    bad = services.look_up_dapp(dapp.url)
    assert (bad.public_key_x, bad.authentication_key) == (
        good.public_key_x,
        good.authentication_key,
    )
    assert bad.reason.startswith("did.json: ")


def test_mutated_documents_of_a_cast_server(person, settings, caplog):
    """A watch starts with fetching a document, too."""
    server = CastServer()
    settings.CAST_SERVER_URL = server.url
    order = random.Random("cast server")  # noqa: S311
    valid = DidWebDocument(
        AppUrl.parse(server.url).did,
        server.key_pair.public_key,
        server.key.public_key,
    ).to_value()
    to_value = DidWebDocument.to_value
    try:
        for _ in range(ROUNDS):
            changed = copy.deepcopy(valid)
            change_once(changed, order)
            json.dumps(changed)
            with transaction.atomic(), caplog.at_level(logging.ERROR):
                DidWebDocument.to_value = lambda _, value=changed: value
                services.watch_accounts()
                assert len(sent(4010)) <= 1
                transaction.set_rollback(True)
    finally:
        DidWebDocument.to_value = to_value
        server.close()
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []
