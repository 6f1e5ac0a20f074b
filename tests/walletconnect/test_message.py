"""Notifications and receipts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.walletconnect.conversation import ANSWER, SUBSCRIPTION, arrived
from tests.walletconnect.people import (
    BOB,
    DAPP,
    KEYS_SERVER,
    NOW,
    OTHER_DAPP,
    W1,
    WX,
    iv,
    secret,
)
from tests.walletconnect.vectors import load
from walletconnect.crypto.keys import SymKey, hash_text
from walletconnect.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from walletconnect.identity.jwt import DidJwt, sign_did_jwt
from walletconnect.json_values import dump_json
from walletconnect.notify.claims import MessageAuth, ReceiptAuth
from walletconnect.notify.cold_start import replay_messages
from walletconnect.notify.message import (
    MessageBatch,
    Recipient,
    claimed_receipt,
    make_receipt,
    read_receipt,
    receive_message,
)
from walletconnect.notify.values import NotifyMessage
from walletconnect.relay.rpc import JsonRpcError, JsonRpcRequest, JsonRpcResult

MONTH = 2_592_000
HELLO = NotifyMessage(
    "Hello", "World é 😀", "gm_hourly", url="https://dapp.example.org"
)
APP = "https://dapp.example.org"
DID_APP = "did:web:dapp.example.org"
RECIPIENT = Recipient(
    W1.account,
    SUBSCRIPTION.sym_key,
    NOW * 1_000_000,
    subscription_hash=ANSWER.subscription_hash,
    notification_id="6f2c1a52-0b5e-4a4e-9d8e-0c6a1b1f2a3b",
)
RECEIVED = replace(
    HELLO, id=RECIPIENT.notification_id, sent_at=NOW * 1000, is_read=False
)
MSG = {
    **HELLO.to_value(),
    "sent_at": NOW * 1000,
    "is_read": False,
    "id": RECIPIENT.notification_id,
}


def batch(notification=HELLO, **changes) -> MessageBatch:
    given = {"app": APP, "now": NOW, "sent_at": NOW * 1000, **changes}
    return MessageBatch.create(notification, DAPP.key, **given)


def request_of(made: MessageBatch, recipient=RECIPIENT) -> JsonRpcRequest:
    return arrived(made.publication(recipient, iv=iv()), recipient.sym_key)


def receive(request=None, account=W1.account, **changes):
    given = {"app": APP, "dapp_did": DAPP.key.did, "now": NOW + 1, **changes}
    return receive_message(request or request_of(batch()), account, **given)


def refusal(*args, **changes) -> ErrorCode:
    with pytest.raises(RemoteProtocolError) as caught:
        receive(*args, **changes)
    return caught.value.code


def test_a_notification_arrives_as_it_was_sent():
    published = batch().publication(RECIPIENT, iv=iv())
    assert (published.topic, published.tag) == (SUBSCRIPTION.topic, 4002)
    assert (published.ttl, published.prompt) == (MONTH, True)
    request = arrived(published, SUBSCRIPTION.sym_key)
    assert request.id == RECIPIENT.request_id
    assert request.method == "wc_notifyMessage"
    received = receive(request)
    assert received.message == RECEIVED
    assert received.subscription_hash == ANSWER.subscription_hash
    assert received.request_id == RECIPIENT.request_id
    assert not received.is_v1


def test_the_claims_of_v0():
    claims = DidJwt.parse(batch().token(RECIPIENT)).claims
    assert claims == {
        "act": "notify_message",
        "iat": NOW,
        "exp": NOW + MONTH,
        "iss": DAPP.key.did,
        "app": APP,
        "msg": MSG,
        "aud": W1.account.did,
        "sub": ANSWER.subscription_hash,
    }


def test_the_claims_of_v1():
    claims = DidJwt.parse(batch(app=DID_APP).token(RECIPIENT)).claims
    assert claims == {
        "act": "notify_message",
        "iat": NOW,
        "exp": NOW + MONTH,
        "iss": DAPP.key.did,
        "app": DID_APP,
        "mjv": "1",
        "msg": MSG,
        "sub": W1.account.did,
    }
    received = receive(request_of(batch(app=DID_APP)))
    assert received.is_v1
    assert received.message == RECEIVED


def test_a_receipt_repeats_the_hash_of_the_message_as_it_arrived():
    made = batch()
    claims = DidJwt.parse(made.token(RECIPIENT)).claims
    received = receive(request_of(made))
    assert not received.is_v1
    # JSON.stringify of what arrived, in the order in which it arrived.
    text = json.dumps(claims["msg"], separators=(",", ":"), ensure_ascii=False)
    assert received.message_hash == hashlib.sha256(text.encode()).hexdigest()


texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=40
)


@given(texts, texts, texts, st.sampled_from([APP, DID_APP]))
def test_every_text_survives_the_batch(title, body, url, app):
    # The head is padded to whole base64 quanta: every length must come out right.
    sent = NotifyMessage(title, body, "alerts", url=url)
    received = receive(request_of(batch(sent, app=app)))
    assert (received.message.title, received.message.body, received.message.url) == (
        title,
        body,
        url,
    )


def test_recipients_of_one_batch_get_messages_of_their_own():
    made = batch()
    other = Recipient(BOB.account, SymKey(secret("bob's")), 77, "cd" * 32)
    request = request_of(made, other)
    assert receive(request, BOB.account).subscription_hash == "cd" * 32
    assert refusal(request, W1.account) is ErrorCode.MISMATCH
    assert receive(request_of(made)).message == RECEIVED


@pytest.mark.parametrize("bad", ['"', "a b", "é", "x" * 200, "{}"])
def test_an_id_with_other_characters_is_a_local_error(bad):
    with pytest.raises(LocalProtocolError):
        replace(RECIPIENT, notification_id=bad)
    with pytest.raises(LocalProtocolError):
        replace(RECIPIENT, subscription_hash=bad)


@pytest.mark.parametrize(
    "changes",
    [
        {"title": ""},
        {"title": "x" * 65},
        {"body": ""},
        {"body": "x" * 256},
        {"icon": "x" * 256},
        {"url": "x" * 256},
        {"type": ""},
        {"type": "two words"},
        {"type": "x" * 37},
        {"title": "a\nb"},
        {"url": "https://x\n"},
    ],
)
def test_a_dapp_may_not_send_beyond_the_limits(changes):
    batch(
        replace(HELLO, title="x" * 64, body="y\n" * 127, icon="z" * 255, url="z" * 255)
    )
    with pytest.raises(RemoteProtocolError):
        batch(replace(HELLO, **changes))


# --- what a wallet refuses ---


def message_with(key=DAPP.key, **changes) -> JsonRpcRequest:
    claims = {
        "act": "notify_message",
        "iat": NOW,
        "exp": NOW + MONTH,
        "iss": key.did,
        "aud": W1.account.did,
        "sub": "ab" * 32,
        "app": APP,
        "msg": HELLO.to_value(),
        **changes,
    }
    token = sign_did_jwt(
        {name: value for name, value in claims.items() if value is not ...}, key
    )
    return JsonRpcRequest(7, "wc_notifyMessage", {"messageAuth": token})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": OTHER_DAPP.key}, ErrorCode.MISMATCH),
        ({"act": "notify_receipt"}, ErrorCode.MISMATCH),
        ({"app": "https://other.example.org"}, ErrorCode.MISMATCH),
        ({"aud": BOB.account.did}, ErrorCode.MISMATCH),
        ({"aud": ...}, ErrorCode.MALFORMED),
        ({"exp": NOW + MONTH + 1}, ErrorCode.MALFORMED),
        ({"msg": "Hello"}, ErrorCode.MALFORMED),
        ({"msg": {}}, ErrorCode.MALFORMED),
        ({"msg": ...}, ErrorCode.MALFORMED),
        ({"iat": NOW - MONTH - 300, "exp": NOW - 300}, ErrorCode.EXPIRED),
    ],
)
def test_a_wallet_refuses_messages_for_others_or_by_others(changes, code):
    assert receive(message_with()).message == HELLO
    assert refusal(message_with(**changes)) is code


def test_texts_of_a_laxer_server_are_cut():
    sent = {"title": "\x00" + "t" * 999, "body": "b" * 9999, "type": "two words"}
    message = receive(message_with(msg=sent)).message
    assert (message.title, len(message.body)) == ("t" * 255, 4096)
    assert (message.icon, message.url, message.type) == ("", "", "two words")


def test_archived_messages_may_have_expired():
    old = message_with()
    late = NOW + 3 * MONTH
    assert refusal(old, now=late) is ErrorCode.EXPIRED
    assert receive(old, now=late, archived=True).message == HELLO
    future = message_with(iat=NOW + 999, exp=NOW + 1000)
    assert refusal(future, archived=True) is ErrorCode.CLOCK


def test_a_replay_gives_each_notification_once_and_oldest_first():
    sent = [
        batch(now=NOW - age).publication(
            replace(RECIPIENT, request_id=number), iv=iv(str(number))
        )
        for number, age in ((3, 10), (1, 30), (2, 20))
    ]
    texts_kept = [each.message for each in (*sent, sent[0])]
    replayed = replay_messages(
        [*texts_kept, "rubbish"], SUBSCRIPTION, dapp_did=DAPP.key.did, now=NOW
    )
    assert [each.request_id for each in replayed] == [1, 2, 3]


# --- receipts ---


def receipt_of(wallet, request=None) -> JsonRpcResult:
    received = receive(request or request_of(batch()))
    published = make_receipt(
        received, wallet.identity, sym_key=SUBSCRIPTION.sym_key, iv=iv(), now=NOW + 1
    )
    assert (published.topic, published.tag) == (SUBSCRIPTION.topic, 4003)
    return arrived(published, SUBSCRIPTION.sym_key)


def read(answer, wallet=W1, **changes):
    given = {"account": W1.account, "identity": wallet.cacao, "now": NOW + 2, **changes}
    return read_receipt(answer, DAPP.identity, **given)


@pytest.mark.parametrize("wallet", [W1, WX])
def test_every_device_of_the_account_sends_its_receipt(wallet):
    answer = receipt_of(wallet)
    receipt = read(answer, wallet)
    assert receipt.request_id == RECIPIENT.request_id
    assert receipt.identity_did == wallet.identity_key.did
    assert receipt.message_hash == hash_text(dump_json(MSG))
    assert claimed_receipt(answer) == (wallet.identity_key.did, KEYS_SERVER)


def test_the_receipt_of_v1_is_accepted_too():
    answer = receipt_of(W1, request_of(batch(app=DID_APP)))
    assert set(answer.result) == {"responseAuth"}
    assert read(answer).message_hash is None


def test_the_hash_is_of_the_text_that_javascript_makes():
    vectors = load("did_jwts")["cases"]
    message = next(
        each["claims"]["msg"] for each in vectors if each["claims"].get("msg")
    )
    receipt = next(each for each in vectors if each["name"] == "notify_receipt")
    assert hash_text(dump_json(message)) == receipt["claims"]["sub"]
    assert hash_text(dump_json({"b": "é\u2028", "a": 1})) == hash_text(
        '{"b":"é\u2028","a":1}'
    )


def test_the_server_refuses_a_receipt_of_another_account():
    for changes in (
        {"identity": BOB.cacao},
        {"account": BOB.account},
        {"identity": WX.cacao},
    ):
        with pytest.raises(RemoteProtocolError) as caught:
            read(receipt_of(W1), **changes)
        assert caught.value.code is ErrorCode.MISMATCH


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": OTHER_DAPP.key.did},
        {"app": "https://other.example.org"},
    ],
)
def test_the_server_refuses_a_receipt_to_another_dapp(changes):
    claims = {
        "iat": NOW,
        "exp": NOW + 60,
        "iss": W1.identity_key.did,
        "aud": DAPP.key.did,
        "sub": "ab" * 32,
        "app": APP,
        "ksu": KEYS_SERVER,
    }

    def answer(**changed):
        token = ReceiptAuth(**{**claims, **changed}).sign(W1.identity_key)
        return JsonRpcResult(7, {"receiptAuth": token})

    read(answer())
    with pytest.raises(RemoteProtocolError) as caught:
        read(answer(**changes))
    assert caught.value.code is ErrorCode.MISMATCH


def test_an_error_answer_is_a_refusal():
    with pytest.raises(RemoteProtocolError) as caught:
        read(JsonRpcError(7, -32000, "cannot read"))
    assert caught.value.code is ErrorCode.REFUSED


@pytest.mark.parametrize(
    "result", [None, {}, {"receiptAuth": ""}, {"responseAuth": "a.b.c"}, 7]
)
def test_other_messages_on_the_topic_are_no_receipts(result):
    with pytest.raises(RemoteProtocolError) as caught:
        read(JsonRpcResult(7, result))
    assert caught.value.code is ErrorCode.MALFORMED


def test_a_message_is_no_receipt():
    token = batch().token(RECIPIENT)
    with pytest.raises(RemoteProtocolError) as caught:
        read(JsonRpcResult(7, {"receiptAuth": token}))
    assert caught.value.code is ErrorCode.MISMATCH


def test_claims_read_what_they_write():
    claims = DidJwt.parse(batch().token(RECIPIENT)).claims
    assert MessageAuth.from_claims(claims).to_claims() == claims
