"""Key agreement and topics. Vectors: key_agreement.json (core utils 2.10 and 2.25)."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.walletconnect.vectors import cases, load
from walletconnect.crypto.keys import (
    KeyPair,
    SymKey,
    derive_sym_key,
    parse_topic,
    topic_of,
)
from walletconnect.errors import LocalProtocolError, RemoteProtocolError

VECTORS = load("key_agreement")
keys = st.binary(min_size=32, max_size=32)


def pair(side: dict) -> KeyPair:
    return KeyPair.from_private(bytes.fromhex(side["private"]))


@pytest.mark.parametrize("case", cases(VECTORS))
def test_both_sides_derive_the_same_key_and_topic(case):
    a, b = pair(case["a"]), pair(case["b"])
    assert a.public_key.hex() == case["a"]["public"]
    assert b.public_key.hex() == case["b"]["public"]
    assert a.exchange(b.public_key).hex() == case["shared_secret"]
    for sym_key in (derive_sym_key(a, b.public_key), derive_sym_key(b, a.public_key)):
        assert sym_key.hex() == case["sym_key"]
        assert sym_key.topic == case["topic"]
    assert a.topic == topic_of(a.public_key) == case["topic_of_a_public"]
    assert b.topic == case["topic_of_b_public"]
    assert case["topic"] != case["wrong_topic_if_hex_text_were_hashed"]


@pytest.mark.parametrize(
    "case", cases(VECTORS, "low_order_public_keys", label="public")
)
def test_a_public_key_of_low_order_is_refused(case):
    # utils 2.10 accepts it: every such sender would share one key with us.
    with pytest.raises(RemoteProtocolError):
        derive_sym_key(pair(VECTORS["cases"][0]["a"]), bytes.fromhex(case["public"]))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_keys_of_another_length_are_refused(length):
    with pytest.raises(LocalProtocolError):
        SymKey(bytes(length))
    with pytest.raises(LocalProtocolError):
        KeyPair.from_private(bytes(length))
    with pytest.raises(RemoteProtocolError):
        derive_sym_key(KeyPair.from_private(b"\x01" * 32), bytes(length))


@pytest.mark.parametrize(
    "text", ["", "ab", "A" * 64, "g" * 64, "0" * 63, "0" * 65, None, 1]
)
def test_a_topic_is_64_lower_case_hex_digits(text):
    with pytest.raises(RemoteProtocolError):
        parse_topic(text)
    with pytest.raises(RemoteProtocolError):
        SymKey.from_hex(text)


@given(keys, keys)
def test_agreement_is_symmetric(a, b):
    pair_a, pair_b = KeyPair.from_private(a), KeyPair.from_private(b)
    assert derive_sym_key(pair_a, pair_b.public_key) == derive_sym_key(
        pair_b, pair_a.public_key
    )


@given(keys)
def test_a_key_shows_its_topic_and_nothing_else(raw):
    for key in (SymKey(raw), KeyPair.from_private(raw)):
        shown = f"{key} {key!r}"
        assert key.topic in shown
        assert raw.hex() not in shown
        assert repr(raw) not in shown


@pytest.mark.parametrize("key", [SymKey(b"\x01" * 32), KeyPair(b"\x01" * 32)])
def test_a_key_cannot_travel_in_a_pickle(key):
    with pytest.raises(TypeError):
        pickle.dumps(key)
