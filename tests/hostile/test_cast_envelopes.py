"""Malformed envelopes on the topics of the Cast Server.

An envelope that does not open is dropped without a response; only its inbox row remains.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path

import pytest

from common import clock, entropy
from messaging import opening
from tests.castserver.world import deliver, sent
from tests.hostile.unchanged import nothing_is_sent
from walletconnect.crypto.envelope import seal
from walletconnect.crypto.keys import KeyPair, SymKey, derive_sym_key
from walletconnect.relay.messages import Publication
from walletconnect.relay.rpc import JsonRpcRequest

VECTORS = Path(__file__).parents[1] / "vectors"
LOW_ORDER = [
    bytes.fromhex(each["public"])
    for each in json.loads((VECTORS / "key_agreement.json").read_text())[
        "low_order_public_keys"
    ]
]
REQUEST = JsonRpcRequest(1, "wc_notifySubscribe", {"subscriptionAuth": "a.b.c"})


def raw(*parts: bytes) -> str:
    return base64.b64encode(b"".join(parts)).decode()


@pytest.fixture
def valid(project, alice):
    """A valid request, and the bytes of its envelope."""
    made, _ = alice.request(project)
    return made.publish, base64.b64decode(made.publish.message)


def test_the_unchanged_request_is_accepted(valid):
    [row] = deliver(valid[0])
    assert (row.state, row.reason) == ("handled", "")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _: "", opening.EMPTY),
        (lambda _: "rubbish!", opening.NO_ENVELOPE),
        (lambda _: "\x00", opening.NO_ENVELOPE),
        (lambda _: "é" * 100, opening.NO_ENVELOPE),
        (lambda _: '{"id":1,"jsonrpc":"2.0","method":"m"}', opening.NO_ENVELOPE),
        (lambda b: raw(b) + "=", opening.NO_ENVELOPE),
        (lambda b: raw(b) + "\n", opening.NO_ENVELOPE),
        (lambda b: raw(b, b"\xff" * 3).replace("/", "_"), opening.NO_ENVELOPE),
        (lambda b: raw(b[:1]), opening.NO_ENVELOPE),
        (lambda b: raw(b[:60]), opening.NO_ENVELOPE),
        (lambda b: raw(b[:61]), opening.CLOSED),
        (lambda b: raw(b[:-1]), opening.CLOSED),
        (lambda b: raw(b, b"\x00"), opening.CLOSED),
        (lambda b: raw(b[:-1], bytes([b[-1] ^ 1])), opening.CLOSED),
        (lambda b: raw(b[:33], bytes([b[33] ^ 1]), b[34:]), opening.CLOSED),
        (lambda b: raw(b[:1], bytes([b[1] ^ 1]), b[2:]), opening.CLOSED),
        (lambda b: raw(b"\x00", b[1:]), opening.NO_KEY),
        (lambda b: raw(b"\x00", b[33:]), opening.NO_KEY),
        (lambda b: raw(b"\x02", b[1:]), opening.NO_ENVELOPE),
        (lambda _: raw(b"\x02", REQUEST.to_json().encode()), opening.NO_ENVELOPE),
        (lambda b: raw(b"\x03", b[1:]), opening.NO_ENVELOPE),
        (lambda b: raw(b"\xff", b[1:]), opening.NO_ENVELOPE),
    ],
    ids=[
        "empty",
        "not base64",
        "a zero character",
        "not ascii",
        "not sealed",
        "padded wrongly",
        "a line feed behind",
        "the url alphabet",
        "a type and no more",
        "one byte short of the least",
        "no room for content",
        "one byte short",
        "one byte more",
        "another tag",
        "another nonce",
        "another sender",
        "called type 0",
        "sealed as type 0",
        "called type 2",
        "type 2, unsealed",
        "type 3",
        "type 255",
    ],
)
def test_an_envelope_with_one_fault_is_dropped(valid, change, reason):
    publication, sealed = valid
    text = change(sealed)
    with nothing_is_sent():
        rows = deliver(dataclasses.replace(publication, message=text))
    # Text that is not base64 is dropped before it is stored.
    stored = text.isascii() and "\x00" not in text
    assert [(row.state, row.reason) for row in rows] == [("refused", reason)] * stored


@pytest.mark.parametrize("sender", LOW_ORDER, ids=lambda key: key.hex()[:4])
def test_a_low_order_key_is_refused(project, sender):
    """Old clients accept the all-zero shared secret of these keys."""
    zero = SymKey.from_hex(
        "df7204546f1bee78b85324a7898ca119b387e01386d1aef037781d4a8a036aee"
    )
    text = seal(REQUEST.to_json(), zero, iv=entropy.iv(), sender=sender)
    with nothing_is_sent():
        [row] = deliver(Publication(project.subscribe_topic, text, 4000, 30))
    assert (row.state, row.reason) == ("refused", opening.CLOSED)
    assert sent(zero.topic) == []


@pytest.mark.parametrize(
    "plaintext",
    [
        "",
        "null",
        "[]",
        "{}",
        "1e400",
        "not json",
        '[{"id":1,"jsonrpc":"2.0","method":"m","params":{}}]',
        '{"jsonrpc":"2.0","method":"m","params":{}}',
        '{"id":null,"jsonrpc":"2.0","method":"m","params":{}}',
        '{"id":1.5,"jsonrpc":"2.0","method":"m","params":{}}',
        '{"id":true,"jsonrpc":"2.0","method":"m","params":{}}',
        '{"id":NaN,"jsonrpc":"2.0","method":"m","params":{}}',
        '{"id":1,"jsonrpc":"1.0","method":"m","params":{}}',
        '{"id":1,"jsonrpc":"2.0","method":"m","params":[]}',
        '{"id":1,"jsonrpc":"2.0","method":7,"params":{}}',
        '{"id":1,"jsonrpc":"2.0"}',
        '{"id":' + "9" * 5000 + ',"jsonrpc":"2.0","method":"m","params":{}}',
        '{"id":1,"jsonrpc":"2.0","method":"m","params":'
        + "[" * 5000
        + "]" * 5000
        + "}",
        '{"id":"\\ud800","jsonrpc":"2.0","method":"m"}',
    ],
)
def test_a_plaintext_that_is_not_a_request_is_dropped(project, plaintext):
    key_pair = KeyPair.from_private(entropy.key_bytes())
    text = seal(
        plaintext,
        derive_sym_key(key_pair, bytes.fromhex(project.public_key_x)),
        iv=entropy.iv(),
        sender=key_pair.public_key,
    )
    with nothing_is_sent():
        [row] = deliver(Publication(project.subscribe_topic, text, 4000, 30))
    assert (row.state, row.reason) == ("refused", opening.NO_RPC)


@pytest.mark.parametrize("tag", [4001, 4002, 4005, 4007, 4009, 4050, 5000, 0])
def test_an_unknown_tag_is_dropped_unopened(valid, tag):
    with nothing_is_sent():
        [row] = deliver(dataclasses.replace(valid[0], tag=tag))
    assert (row.state, row.reason) == ("refused", opening.NO_HANDLER)


@pytest.mark.parametrize("tag", [4004, 4008, 4014, 4016])
def test_notify_topic_messages_are_dropped_on_other_topics(valid, tag):
    with nothing_is_sent():
        [row] = deliver(dataclasses.replace(valid[0], tag=tag))
    assert (row.state, row.reason) == ("refused", "no subscription has this topic")


def test_a_subscribe_on_a_notify_topic_is_dropped(project, alice, bob):
    """A type 0 envelope has no sender key Y to respond to."""
    subscription = alice.subscribe(project)
    made, _ = bob.request(project)
    payload = JsonRpcRequest(clock.payload_id(), "wc_notifySubscribe", {})
    text = seal(payload.to_json(), subscription.sym_key, iv=entropy.iv())
    with nothing_is_sent():
        rows = deliver(
            Publication(subscription.topic, text, 4000, 30),
            dataclasses.replace(made.publish, topic=subscription.topic),
        )
    assert {row.state for row in rows} == {"refused"}
