"""Signatures as people bring them, in the one form that everything else expects.

ux.md, 3.6: with or without ``0x``, v as 0/1 or 27/28, 64 bytes (EIP-2098), or the JSON
that some wallets copy. Reliability.md, item 15: canonical is ``0x`` and 130 lower-case hex
digits with v 27 or 28, because the sync key is derived from that very text.
"""

from __future__ import annotations

import re
from typing import Final

from identity.services.errors import MalformedSignature
from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import parse_object

LONGEST: Final = 4096
SCALAR_LENGTH: Final = 32
# EIP-2098: the top bit of s says which of two points it is.
PARITY_BIT: Final = 0x80

_HEX = re.compile(r"(?:0[xX])?([0-9a-fA-F]{128}|[0-9a-fA-F]{130})")


def canonical_signature(text: str) -> str:
    """``text`` as 0x, r, s and v (1b or 1c); ``MalformedSignature`` if it is none."""
    if len(text) > LONGEST:
        raise MalformedSignature
    match = _HEX.fullmatch(_bare_text(text.strip()))
    if match is None:
        raise MalformedSignature
    raw = bytes.fromhex(match[1])
    if len(raw) == 2 * SCALAR_LENGTH:
        raw = _expanded(raw)
    v = raw[-1] + 27 if raw[-1] in (0, 1) else raw[-1]
    if v not in (27, 28):
        raise MalformedSignature
    return "0x" + raw[:-1].hex() + bytes([v]).hex()


def _bare_text(text: str) -> str:
    """The signature out of ``{"address": …, "msg": …, "sig": …}``, if it is that."""
    if not text.startswith("{"):
        return text
    try:
        members = parse_object(text)
    except RemoteProtocolError:
        raise MalformedSignature from None
    signature = members.get("sig") or members.get("signature")
    if not isinstance(signature, str):
        raise MalformedSignature
    return signature.strip()


def _expanded(compact: bytes) -> bytes:
    r, s = compact[:SCALAR_LENGTH], bytearray(compact[SCALAR_LENGTH:])
    v = 28 if s[0] & PARITY_BIT else 27
    s[0] &= ~PARITY_BIT & 0xFF
    return r + bytes(s) + bytes([v])
