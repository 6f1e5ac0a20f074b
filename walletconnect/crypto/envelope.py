"""Envelopes: what travels on a topic, base64 of a type byte and a sealed JSON text.

Spec: clients/core/crypto/crypto-envelopes.md.

    type 0   00 | iv 12 | ciphertext | tag 16                  both sides hold the key
    type 1   01 | sender X25519 public 32 | iv 12 | ciphertext | tag 16   first contact

ChaCha20-Poly1305 without associated data. The sender key of type 1 is not covered by the
tag; it takes part only through key derivation.

Departures: old clients read an unknown type byte as type 0, and decode base64 without its
padding. Both are refused: one message has exactly one text. Type 2 (unencrypted link
mode) never travels over a relay and is refused too.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidTag

from walletconnect.crypto.keys import KEY_LENGTH, KeyPair, SymKey, derive_sym_key
from walletconnect.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

IV_LENGTH: Final = 12
TAG_LENGTH: Final = 16


class EnvelopeType(IntEnum):
    SHARED_KEY = 0
    SENDER_KEY = 1


_TYPES = {each.value: each for each in EnvelopeType}
_MIN_LENGTH = {
    EnvelopeType.SHARED_KEY: 1 + IV_LENGTH + TAG_LENGTH,
    EnvelopeType.SENDER_KEY: 1 + KEY_LENGTH + IV_LENGTH + TAG_LENGTH,
}


def _unreadable() -> RemoteProtocolError:
    # One text for every cause: wrong key, wrong length, wrong type.
    return RemoteProtocolError(ErrorCode.UNREADABLE, "the envelope does not open")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A decoded, still closed envelope."""

    type: EnvelopeType
    iv: bytes
    sealed: bytes = field(repr=False)
    sender_public_key: bytes | None = None

    @classmethod
    def decode(cls, text: str) -> Envelope:
        raw = _decode_base64(text)
        envelope_type = _TYPES.get(raw[0]) if raw else None
        if envelope_type is None or len(raw) < _MIN_LENGTH[envelope_type]:
            raise _unreadable()
        if envelope_type is EnvelopeType.SHARED_KEY:
            return cls(envelope_type, raw[1:13], raw[13:])
        return cls(envelope_type, raw[33:45], raw[45:], raw[1:33])

    def open(self, sym_key: SymKey) -> str:
        try:
            return sym_key.cipher.decrypt(self.iv, self.sealed, None).decode()
        except (InvalidTag, UnicodeDecodeError):
            raise _unreadable() from None

    def derive_sym_key(self, key_pair: KeyPair) -> SymKey:
        """The key of a type 1 envelope, on the receiver's side."""
        if self.sender_public_key is None:
            raise _unreadable()
        return derive_sym_key(key_pair, self.sender_public_key)


def seal(
    plaintext: str, sym_key: SymKey, *, iv: bytes, sender: bytes | None = None
) -> str:
    """The envelope text: type 1 if the `sender`'s public key is given, else type 0.

    `iv` must be fresh random bytes for every message.
    """
    if len(iv) != IV_LENGTH:
        raise LocalProtocolError("an iv has 12 bytes")
    head = b"\x00"
    if sender is not None:
        if len(sender) != KEY_LENGTH:
            raise LocalProtocolError("a sender's public key has 32 bytes")
        head = b"\x01" + sender
    sealed = sym_key.cipher.encrypt(iv, plaintext.encode(), None)
    return b2a_base64(head + iv + sealed, newline=False).decode()


def open_envelope(text: str, sym_key: SymKey) -> str:
    """The plaintext of a type 0 envelope on the topic of `sym_key`."""
    envelope = Envelope.decode(text)
    if envelope.type is not EnvelopeType.SHARED_KEY:
        raise _unreadable()
    return envelope.open(sym_key)


def _decode_base64(text: str) -> bytes:
    try:
        raw = a2b_base64(text, strict_mode=True)
    except ValueError:
        raise _unreadable() from None
    # The last quantum may carry stray bits: re-encode it and compare, or one message
    # would have several texts and slip past the duplicate check.
    tail = len(raw) % 3
    if tail and b2a_base64(raw[-tail:], newline=False).decode() != text[-4:]:
        raise _unreadable()
    return raw
