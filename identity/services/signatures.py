"""Signatures as people bring them, in the one form that everything else expects.

With or without ``0x``, v as 0/1 or 27/28, 64 bytes (EIP-2098), or the JSON that some
wallets copy; wrapped by a terminal, in quotes, with a line break behind it. Canonical is
``0x`` and 130 lower-case hex digits with v 27 or 28, because the sync key is derived from
that very text.

The *text* that was signed is another matter: with a line break at its end it is another
text. A CACAO must verify by exactly the text that everybody rebuilds from its payload, and
the sync key must come out the same on every device, so such a signature is refused; but
``added_white_space`` finds it out, so that the person learns what to do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from common.pasting import bare_text
from identity.services.errors import MalformedSignature
from walletconnect.crypto.ethereum import recover_eip191
from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import parse_object

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LENGTH: Final = 4096
SCALAR_LENGTH: Final = 32
# EIP-2098: the top bit of s says which of two points it is.
PARITY_BIT: Final = 0x80

_ENDS: Final = (
    ("", ""),
    ("a line break at the end", "\n"),
    ("a line break at the end", "\r\n"),
    ("line breaks at the end", "\n\n"),
    ("a space at the end", " "),
)
_STARTS: Final = (
    ("", ""),
    ("a line break at the beginning", "\n"),
    ("a space at the beginning", " "),
)

_HEX = re.compile(r"(?:0[xX])?([0-9a-fA-F]{128}|[0-9a-fA-F]{130})")


def canonical_signature(text: str) -> str:
    """``text`` as 0x, r, s and v (1b or 1c); ``MalformedSignature`` if it is none."""
    if len(text) > MAX_LENGTH:
        raise MalformedSignature
    match = _HEX.fullmatch(bare_text(_signature_in(text.strip())))
    if match is None:
        raise MalformedSignature
    raw = bytes.fromhex(match[1])
    if len(raw) == 2 * SCALAR_LENGTH:
        raw = _expanded(raw)
    v = raw[-1] + 27 if raw[-1] in (0, 1) else raw[-1]
    if v not in (27, 28):
        raise MalformedSignature
    return "0x" + raw[:-1].hex() + bytes([v]).hex()


def _signature_in(text: str) -> str:
    """The signature out of ``{"address": …, "msg": …, "sig": …}``, if it is that."""
    if not text.startswith("{"):
        return text
    try:
        members = parse_object(_without_wraps(text))
    except RemoteProtocolError:
        raise MalformedSignature from None
    signature = members.get("sig") or members.get("signature")
    if not isinstance(signature, str):
        raise MalformedSignature
    return signature


def _without_wraps(text: str) -> str:
    """JSON as it was before a terminal or a mail wrapped it: a line break inside a string
    is written ``\\n`` in JSON, a real one means nothing."""
    return "".join(text.splitlines())


def added_white_space(message: str, address: str, signature: str) -> str:
    """What was added to ``message`` when ``address`` signed it; empty if that is not it."""
    for words, variant in _variants(message):
        try:
            signer = recover_eip191(variant, signature)
        except RemoteProtocolError:
            return ""
        if signer.lower() == address.lower():
            return words
    return ""


def _variants(message: str) -> Iterator[tuple[str, str]]:
    for lines, newline in (("", "\n"), ("Windows line ends", "\r\n")):
        text = message.replace("\n", newline)
        for end, after in _ENDS:
            for start, before in _STARTS:
                words = " and ".join(filter(None, (lines, start, end)))
                if words:
                    yield words, f"{before}{text}{after}"


def _expanded(compact: bytes) -> bytes:
    r, s = compact[:SCALAR_LENGTH], bytearray(compact[SCALAR_LENGTH:])
    v = 28 if s[0] & PARITY_BIT else 27
    s[0] &= ~PARITY_BIT & 0xFF
    return r + bytes(s) + bytes([v])
