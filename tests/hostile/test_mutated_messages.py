"""Mutated messages by senders who hold the right keys.

Each message meets the same state as the valid one. It is accepted, or it is refused and
changes nothing. None raises an unexpected exception in a handler.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import random

import pytest
from django.db import transaction

from common import clock, entropy
from common.limits import Bucket
from messaging import services as messaging
from messaging.models import InboxMessage, Party
from subscriptions import services as wallet
from subscriptions.services.messages.messages import DAPP_CHANGED
from tests.castserver.world import Wallet
from tests.hostile.endpoints import ENDPOINTS
from tests.hostile.mutations import Original, deep, garbled
from tests.hostile.tokens import Forgery, encoded
from tests.hostile.unchanged import changed_since, contents
from tests.subscriptions.cast_server import CastServer, listed
from tests.subscriptions.conftest import requested, subscribed
from tests.subscriptions.test_adoption import OtherWallet
from tests.subscriptions.test_delete import delete_auth
from walletconnect.crypto.base64url import encode_base64url
from walletconnect.crypto.envelope import seal
from walletconnect.identity.authorization import ALL_APPS_STATEMENT
from walletconnect.identity.did import AccountId
from walletconnect.notify.answers import publish_request
from walletconnect.notify.methods import (
    DELETE,
    GET_NOTIFICATIONS,
    SUBSCRIBE,
    UPDATE,
)
from walletconnect.sync.store import StoreDelete, StoreSet

ROUNDS = int(os.environ.get("HOSTILE_ROUNDS", "12"))
PATIENT = Bucket(1_000_000, 1000)
# Tables in which a handler records a refusal, in addition to the inbox row.
LOG_OF_THE_STORE = {"syncstore_storeupdate", "syncstore_devicecursor"}

# Only the dapp has the key to respond to a subscribe, so a bad response ends the attempt.
END_OF_AN_ATTEMPT = {
    "accounts_accountevent",
    "accounts_user",
    "keychain_keypairentry",
    "keychain_symkeyentry",
    "messaging_topicsubscription",
    "subscriptions_subscribeattempt",
}


@pytest.fixture(autouse=True)
def no_limits(settings):
    rates = ("notify_delete", "notify_update", "notify_list", "sync_topic")
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, **dict.fromkeys(rates, PATIENT)
    )


def deliver(party: Party, messages: list[tuple[str, str, int]]) -> list[InboxMessage]:
    """Pass messages to the real dispatch; return their inbox rows."""
    received = [messaging.Received(*each, clock.now_ms()) for each in messages]
    pks = messaging.receive(party, received)
    assert messaging.handle_due(60.0) is False
    return list(InboxMessage.objects.filter(pk__in=pks).order_by("pk"))


def defects(caplog) -> list[str]:
    """Logged unexpected exceptions, with their location."""
    return [
        record.getMessage() + getattr(record, "where", "")
        for record in caplog.records
        if record.levelno >= logging.ERROR
    ]


@pytest.fixture
def withstand(caplog, request):
    """Deliver the messages one by one, each in the same state.

    None may cause an unexpected exception. The refused ones are delivered again in one batch,
    which must change no tables other than those in ``besides``.
    """

    def withstand(party, original, *, besides=frozenset(), waits=None):
        order = random.Random(request.node.name)  # noqa: S311
        refused = []
        for number in range(ROUNDS):
            change = garbled if number % 10 == 0 else Original.changed_once
            message = change(original, order)
            with caplog.at_level(logging.ERROR), transaction.atomic():
                rows = deliver(party, [message])
                transaction.set_rollback(True)
            assert not defects(caplog)
            for row in rows:
                assert row.state in {"handled", "refused"} or row.reason == waits
                if row.state == "refused":
                    refused.append(message)
        assert refused
        before = contents()
        deliver(party, refused)
        assert changed_since(before).keys() <= besides

    return withstand


def signed_message(message, sym_key, signer=None) -> Original:
    return Original(*message, sym_key, signer)


# --- the Cast Server ------------------------------------------------------------------


@pytest.mark.parametrize("method", [SUBSCRIBE, UPDATE, DELETE], ids=lambda m: m.name)
@pytest.mark.parametrize("generation", ["august", "later"])
def test_requests_of_wallets(withstand, project, method, generation):
    changes = {}
    alice = Wallet("alice")
    if generation == "later":
        alice.statement = ALL_APPS_STATEMENT
        changes = {"app": "did:web:dapp.example.org", "sub": alice.account.did}
        changes["mjv"] = "1"
    alice.register()
    sym_key = None if method is SUBSCRIBE else alice.subscribe(project).sym_key
    forgery = Forgery(project, alice, method, sym_key)
    made = forgery.publication(forgery.token(**changes))
    original = Original(
        made.topic, made.message, made.tag, forgery.answer_key, alice.key
    )
    withstand(Party.CAST, original)


@pytest.mark.parametrize("case_name", ["receipt", "watch", "read", "mark"])
def test_other_messages_of_wallets(withstand, project, case_name):
    phone = Wallet("alice", statement=ALL_APPS_STATEMENT).register()
    made = ENDPOINTS[case_name](project, phone, phone.subscribe(project))
    message = made.publish.topic, made.publish.message, made.publish.tag
    withstand(Party.CAST, signed_message(message, made.sym_key, phone.key))


# --- the wallet side ------------------------------------------------------------------


def test_answers_to_a_subscribe(withstand, person, dapp):
    requested(person, dapp)
    _, _, sym_key_s = dapp.opened(dapp.requests()[-1])
    withstand(
        Party.WALLET,
        signed_message(dapp.answer(), sym_key_s, dapp.key),
        besides=END_OF_AN_ATTEMPT,
    )


def test_notifications(withstand, person, dapp):
    subscribed(person, dapp)
    key = dapp.key_of(person.account)
    note = dapp.notification(person.account, icon="https://a.example/i.png")
    withstand(Party.WALLET, signed_message(note, key, dapp.key), waits=DAPP_CHANGED)


def test_pages_of_notifications(withstand, person, dapp):
    subscribed(person, dapp)
    note = {"id": "one", "title": "t", "body": "b", "type": "alerts", "is_read": True}
    claims = {
        "act": "notify_get_notifications_response",
        "iat": clock.now_s(),
        "exp": clock.now_s() + 300,
        "iss": dapp.key.did,
        "mjv": "1",
        "aud": person.device.identity_keys.get().did,
        "sub": AccountId.parse(person.account.address).did,
        "app": dapp.url.replace("http://", "did:web:"),
        "nfs": [note | {"sent_at": clock.now_ms()}],
        "mre": True,
        "mur": True,
    }
    signed = f"{encoded({'alg': 'EdDSA', 'typ': 'JWT'})}.{encoded(claims)}"
    token = f"{signed}.{encode_base64url(dapp.key.sign(signed.encode()))}"
    result = {GET_NOTIFICATIONS.result: token}
    payload = {"id": 7, "jsonrpc": "2.0", "result": result}
    key = dapp.key_of(person.account)
    text = seal(json.dumps(payload), key, iv=entropy.iv())
    withstand(Party.WALLET, signed_message((key.topic, text, 4015), key, dapp.key))


def test_answers_to_an_update(withstand, person, dapp):
    subscription = subscribed(person, dapp)
    wallet.update(subscription, {"news"}, person.device)
    key = dapp.key_of(person.account)
    withstand(
        Party.WALLET, signed_message(dapp.answer_update(person.account), key, dapp.key)
    )


def test_deletes(withstand, person, dapp):
    subscribed(person, dapp)
    key = dapp.key_of(person.account)
    made = publish_request(
        DELETE,
        delete_auth(dapp, dapp.key),
        request_id=clock.payload_id(),
        sym_key=key,
        iv=entropy.iv(),
    )
    withstand(
        Party.WALLET,
        signed_message((made.topic, made.message, made.tag), key, dapp.key),
    )


@pytest.mark.parametrize("kind", ["set", "delete"])
def test_store_updates(withstand, person, dapp, kind):
    other = OtherWallet(person, dapp)
    value = other.subscription()
    other.announce(value)
    update = (
        StoreSet(value.topic, value.to_json(), other.next_id())
        if kind == "set"
        else StoreDelete(value.topic, other.next_id())
    )
    withstand(
        Party.WALLET,
        signed_message(other.message(update), other.key),
        besides=LOG_OF_THE_STORE,
    )


@pytest.mark.parametrize("kind", ["answer", "announcement"])
def test_lists_of_a_cast_server(withstand, person, dapp, settings, kind):
    server = CastServer()
    settings.CAST_SERVER_URL = server.url
    try:
        wallet.watch_accounts()
        answer = server.answer(listed(person, dapp))
        key = server.watcher.sym_key
        if kind == "announcement":
            messaging.receive(
                Party.WALLET, [messaging.Received(*answer, clock.now_ms())]
            )
            messaging.handle_due(20.0)
            answer = server.announcement(listed(person, dapp))
        withstand(Party.WALLET, signed_message(answer, key, server.key))
    finally:
        server.close()


# --- depth ----------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [100, 126, 140, 253, 255, 300, 900])
def test_values_that_nest_deep(person, dapp, caplog, levels):
    """Below and above the depth at which JSON can be read but not written."""
    subscribed(person, dapp)
    key = dapp.key_of(person.account)
    claims = {
        "act": "notify_message",
        "iat": clock.now_s(),
        "exp": clock.now_s() + 300,
        "iss": dapp.key.did,
        "aud": AccountId.parse(person.account.address).did,
        "sub": "0" * 64,
        "app": dapp.url,
        "msg": {"title": "t", "body": "b", "type": "alerts", "more": deep(levels)},
    }
    signed = f"{encoded({'alg': 'EdDSA', 'typ': 'JWT'})}.{encoded(claims)}"
    token = f"{signed}.{encode_base64url(dapp.key.sign(signed.encode()))}"
    other = OtherWallet(person, dapp)
    payloads = [
        (key, 4002, {"method": "m", "params": {"messageAuth": token}}),
        (key, 4002, {"method": "m", "params": {"messageAuth": deep(levels)}}),
        (key, 4009, {"result": deep(levels)}),
        (other.key, 5000, {"method": "wc_syncSet", "params": deep(levels)}),
    ]
    messages = []
    for sym_key, tag, members in payloads:
        text = json.dumps({"id": clock.payload_id(), "jsonrpc": "2.0", **members})
        messages.append((sym_key.topic, seal(text, sym_key, iv=entropy.iv()), tag))
    rows = deliver(Party.WALLET, messages)
    assert not defects(caplog)
    assert {row.state for row in rows} <= {"handled", "refused"}
