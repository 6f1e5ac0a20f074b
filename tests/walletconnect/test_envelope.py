"""Envelopes. Vectors: envelopes.json (core utils 2.10 and 2.25)."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.walletconnect.vectors import cases, load
from walletconnect.crypto.envelope import (
    Envelope,
    EnvelopeType,
    open_envelope,
    seal,
)
from walletconnect.crypto.keys import KeyPair, SymKey
from walletconnect.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

VECTORS = load("envelopes")
keys = st.binary(min_size=32, max_size=32)
ivs = st.binary(min_size=12, max_size=12)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)

# The tag does not cover the sender's key: the right key opens it anyway.
OPENS_WITH_THE_KEY = "type 1 with tampered sender key, key known"


@pytest.mark.parametrize("case", cases(VECTORS, label="type"))
def test_it_seals_and_opens_what_the_released_client_does(case):
    if case["type"] == 2:
        with pytest.raises(RemoteProtocolError):
            Envelope.decode(case["encoded"])
        return
    sym_key = SymKey.from_hex(case["sym_key"])
    iv = bytes.fromhex(case["iv"])
    sender = bytes.fromhex(case["sender_public_key"]) if case["type"] == 1 else None
    assert seal(case["plaintext"], sym_key, iv=iv, sender=sender) == case["encoded"]
    assert base64.b64decode(case["encoded"]).hex() == case["decoded_hex"]
    envelope = Envelope.decode(case["encoded"])
    assert (envelope.type, envelope.iv) == (case["type"], iv)
    assert envelope.sender_public_key == sender
    assert envelope.open(sym_key) == case["plaintext"]
    if case["type"] == 1:
        receiver = KeyPair.from_private(bytes.fromhex(case["receiver_private_key"]))
        assert Envelope.decode(case["encoded"]).sender_public_key == sender
        assert envelope.derive_sym_key(receiver) == sym_key
    else:
        assert open_envelope(case["encoded"], sym_key) == case["plaintext"]


@pytest.mark.parametrize("case", cases(VECTORS, "negative"))
def test_it_refuses_what_a_server_must_refuse(case):
    sym_key = SymKey.from_hex(case["sym_key"])
    if case["name"] == OPENS_WITH_THE_KEY:
        # The receiver derives the key from the tampered sender, so it gets another one.
        envelope = Envelope.decode(case["encoded"])
        receiver = KeyPair.from_private(
            bytes.fromhex(VECTORS["cases"][1]["receiver_private_key"])
        )
        with pytest.raises(RemoteProtocolError):
            envelope.open(envelope.derive_sym_key(receiver))
        return
    with pytest.raises(RemoteProtocolError) as caught:
        open_envelope(case["encoded"], sym_key)
    assert caught.value.code is ErrorCode.UNREADABLE


def test_every_failure_reads_the_same():
    messages = set()
    for case in VECTORS["negative"]:
        with pytest.raises(RemoteProtocolError) as caught:
            open_envelope(case["encoded"], SymKey.from_hex(case["sym_key"]))
        messages.add(str(caught.value))
    assert len(messages) == 1


@given(texts, keys, ivs, st.none() | keys)
def test_what_was_sealed_opens_again(plaintext, raw, iv, sender):
    sym_key = SymKey(raw)
    text = seal(plaintext, sym_key, iv=iv, sender=sender)
    envelope = Envelope.decode(text)
    assert envelope.open(sym_key) == plaintext
    assert envelope.sender_public_key == sender
    assert envelope.type is (
        EnvelopeType.SHARED_KEY if sender is None else EnvelopeType.SENDER_KEY
    )


@given(texts, st.data())
def test_a_changed_letter_never_opens(plaintext, data):
    sym_key = SymKey(b"\x07" * 32)
    text = seal(plaintext, sym_key, iv=bytes(12))
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(
        st.characters(codec="utf-8").filter(lambda each: each != text[place])
    )
    with pytest.raises(RemoteProtocolError):
        open_envelope(text[:place] + letter + text[place + 1 :], sym_key)


@given(
    st.text(max_size=200)
    | st.binary(max_size=100).map(lambda b: base64.b64encode(b).decode())
)
def test_garbage_is_refused_and_nothing_else_happens(text):
    with pytest.raises(RemoteProtocolError):
        open_envelope(text, SymKey(b"\x07" * 32))


def test_a_shared_key_envelope_has_no_sender():
    text = seal("{}", SymKey(b"\x07" * 32), iv=bytes(12))
    assert Envelope.decode(text).sender_public_key is None
    with pytest.raises(RemoteProtocolError):
        Envelope.decode(text).derive_sym_key(KeyPair(b"\x01" * 32))


def test_wrong_lengths_of_ours_are_our_fault():
    with pytest.raises(LocalProtocolError):
        seal("{}", SymKey(b"\x07" * 32), iv=bytes(11))
    with pytest.raises(LocalProtocolError):
        seal("{}", SymKey(b"\x07" * 32), iv=bytes(12), sender=bytes(31))
