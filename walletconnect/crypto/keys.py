"""Encryption keys, symmetric keys, and the topics that are their hashes.

Spec: clients/core/crypto/crypto-keys.md and crypto-envelopes.md.

A topic hashes the 32 raw bytes of a key, never its hex text. A secret key's `repr` shows
its topic, so that a log line identifies a key without revealing it.

Departure: old clients accept public keys of low order, which make every sender share the
same all-zero secret. They are refused here.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Final, NewType

from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from walletconnect.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

KEY_LENGTH: Final = 32

Topic = NewType("Topic", str)

_TOPIC = re.compile(r"[0-9a-f]{64}")


def topic_of(key: bytes) -> Topic:
    """The topic of a public or a symmetric key, given its raw bytes."""
    if len(key) != KEY_LENGTH:
        raise LocalProtocolError("a topic is the hash of a key of 32 bytes")
    return Topic(hashlib.sha256(key).hexdigest())


def parse_topic(text: object, what: str = "topic") -> Topic:
    """`text` as a topic: 64 lower-case hex digits. `what` names it in the error."""
    if isinstance(text, str) and _TOPIC.fullmatch(text):
        return Topic(text)
    raise RemoteProtocolError(ErrorCode.MALFORMED, f"malformed {what}")


def hash_text(text: str) -> str:
    """sha256 hex of a text: message ids, receipts, subscription hashes."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SymKey:
    """A symmetric key. The cipher is built once and kept inside."""

    raw: bytes = field(repr=False)
    topic: Topic = field(init=False, compare=False)
    _cipher: ChaCha20Poly1305 = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "topic", topic_of(self.raw))
        object.__setattr__(self, "_cipher", ChaCha20Poly1305(self.raw))

    @classmethod
    def from_hex(cls, text: object) -> SymKey:
        """The key in its wire form: exactly 64 lower-case hex digits."""
        if isinstance(text, str) and _TOPIC.fullmatch(text):
            return cls(bytes.fromhex(text))
        raise RemoteProtocolError(ErrorCode.MALFORMED, "malformed symmetric key")

    def hex(self) -> str:
        return self.raw.hex()

    @property
    def cipher(self) -> ChaCha20Poly1305:
        return self._cipher

    def __bytes__(self) -> bytes:
        return self.raw


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An X25519 key pair. Private keys are plain random bytes; clamping is X25519's."""

    private_key: bytes = field(repr=False)
    public_key: bytes = field(init=False, repr=False, compare=False)
    topic: Topic = field(init=False, compare=False)
    _private: X25519PrivateKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.private_key) != KEY_LENGTH:
            raise LocalProtocolError("an X25519 private key has 32 bytes")
        private = X25519PrivateKey.from_private_bytes(self.private_key)
        public_key = private.public_key().public_bytes_raw()
        object.__setattr__(self, "_private", private)
        object.__setattr__(self, "public_key", public_key)
        object.__setattr__(self, "topic", topic_of(public_key))

    @classmethod
    def from_private(cls, private_key: bytes) -> KeyPair:
        return cls(private_key)

    def exchange(self, public_key: bytes) -> bytes:
        """The shared secret with the owner of `public_key`; never all zero."""
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(public_key))
        except ValueError:
            # A wrong length, or a point of low order: the library refuses both.
            raise RemoteProtocolError(
                ErrorCode.MALFORMED, "malformed public key"
            ) from None


def check_public_key(public_key: bytes) -> bytes:
    """`public_key` itself, if a secret can be agreed on with its owner.

    A point of low order agrees on zero with everybody.
    """
    _LOW_ORDER_SECRET.exchange(public_key)
    return public_key


_LOW_ORDER_SECRET: Final = KeyPair(b"\x01" * KEY_LENGTH)


def derive_sym_key(key_pair: KeyPair, public_key: bytes) -> SymKey:
    """The same key on both sides: HKDF-SHA256 of the shared secret, no salt, no info."""
    shared_secret = key_pair.exchange(public_key)
    hkdf = HKDF(algorithm=SHA256(), length=KEY_LENGTH, salt=None, info=b"")
    return SymKey(hkdf.derive(shared_secret))
