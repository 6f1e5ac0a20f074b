"""Public keys as multibase text: the part of a did:key behind `did:key:`.

Spec: did:key method. The text begins `z6Mk` for Ed25519 and
`z6LS` for X25519. Only the canonical text is accepted: what we decode encodes back to
the same characters, so that one key has one did:key.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import base58

from walletconnect.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

ED25519: Final = b"\xed\x01"
X25519: Final = b"\xec\x01"

_KEY_LENGTH = 32
# 34 bytes take at most 47 base58 digits; decoding costs the square of the length.
_MAX_LENGTH = 60


@lru_cache(maxsize=4096)
def encode_multikey(public_key: bytes, prefix: bytes = ED25519) -> str:
    if len(public_key) != _KEY_LENGTH:
        raise LocalProtocolError("a public key has 32 bytes")
    return "z" + base58.b58encode(prefix + public_key).decode()


@lru_cache(maxsize=4096)
def decode_multikey(text: str, prefix: bytes = ED25519) -> bytes:
    malformed = RemoteProtocolError(ErrorCode.MALFORMED, "malformed did:key")
    if not text.startswith("z") or len(text) > _MAX_LENGTH or not text.isascii():
        raise malformed
    try:
        decoded = base58.b58decode(text[1:])
    except ValueError:
        raise malformed from None
    public_key = decoded[len(prefix) :]
    if not decoded.startswith(prefix) or len(public_key) != _KEY_LENGTH:
        raise malformed
    if encode_multikey(public_key, prefix) != text:
        raise malformed
    return public_key
