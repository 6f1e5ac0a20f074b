"""Signatures as users paste them, in canonical form.

With or without ``0x``, v as 0/1 or 27/28, 64 bytes (EIP-2098), or the JSON that some
wallets copy; wrapped by a terminal, in quotes, with a line break at the end. The canonical
form is ``0x`` and 130 lower-case hex digits with v 27 or 28; the sync key is derived from
that very text.

Wallets that add white space to the *text* before they sign it are another matter. A CACAO
must verify by the text that everyone rebuilds from its payload, so such a signature is
refused; ``added_white_space`` detects it, so that the error can name the remedy.
"""

from __future__ import annotations

import itertools
import re
from typing import Final

from common.pasting import bare_text
from identity.services.errors import MalformedSignature
from walletconnect.crypto.ethereum import recover_eip191
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.contract_wallet import MAX_SIGNATURE_BYTES
from walletconnect.json_values import parse_object

# The bytes of a contract's signature in hex, and what JSON may put around them.
MAX_LENGTH: Final = 2 * MAX_SIGNATURE_BYTES + 4096
SCALAR_LENGTH: Final = 32
# EIP-2098: the top bit of s selects one of two points.
PARITY_BIT: Final = 0x80

_NEWLINES: Final = (("", "\n"), ("Windows line ends", "\r\n"))
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
_HEX_BYTES = re.compile(r"(?:0[xX])?((?:[0-9a-fA-F]{2})+)")


def canonical_signature(text: str) -> str:
    """``text`` as 0x, r, s and v (1b or 1c); raises ``MalformedSignature``."""
    match = _HEX.fullmatch(_bare_signature(text))
    if match is None:
        raise MalformedSignature
    raw = bytes.fromhex(match[1])
    if len(raw) == 2 * SCALAR_LENGTH:
        s = bytearray(raw[SCALAR_LENGTH:])
        parity = 28 if s[0] & PARITY_BIT else 27
        s[0] &= ~PARITY_BIT & 0xFF
        raw = raw[:SCALAR_LENGTH] + bytes(s) + bytes([parity])
    v = raw[-1] + 27 if raw[-1] in (0, 1) else raw[-1]
    if v not in (27, 28):
        raise MalformedSignature
    return "0x" + raw[:-1].hex() + bytes([v]).hex()


def contract_signature(text: str) -> str:
    """``text`` as 0x and lower-case hex of any length, exactly the bytes given.

    What the bytes mean is up to the contract, v above all.
    """
    match = _HEX_BYTES.fullmatch(_bare_signature(text))
    if match is None or len(match[1]) > 2 * MAX_SIGNATURE_BYTES:
        raise MalformedSignature
    return f"0x{match[1].lower()}"


def _bare_signature(text: str) -> str:
    if len(text) > MAX_LENGTH:
        raise MalformedSignature
    return bare_text(_signature_in(text.strip()))


def _signature_in(text: str) -> str:
    """The signature of ``{"address": …, "msg": …, "sig": …}``, or the text itself."""
    if not text.startswith("{"):
        return text
    try:
        # JSON writes a line break inside a string as ``\n``; real ones come from a
        # terminal or a mail that wrapped the text.
        members = parse_object("".join(text.splitlines()))
    except RemoteProtocolError:
        raise MalformedSignature from None
    signature = members.get("sig") or members.get("signature")
    if not isinstance(signature, str):
        raise MalformedSignature
    return signature


def added_white_space(message: str, address: str, signature: str) -> tuple[str, ...]:
    """The white space that was added before ``address`` signed; empty if it was not that."""
    for (lines, newline), (end, after), (start, before) in itertools.product(
        _NEWLINES, _ENDS, _STARTS
    ):
        parts = tuple(each for each in (lines, start, end) if each)
        if not parts:
            continue
        text = message.replace("\n", newline)
        try:
            signer = recover_eip191(f"{before}{text}{after}", signature)
        except RemoteProtocolError:
            return ()
        if signer.lower() == address.lower():
            return parts
    return ()
