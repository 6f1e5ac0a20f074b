"""Ethereum accounts: Keccak-256, EIP-55 addresses, EIP-191 personal signatures."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import coincurve
from Crypto.Hash import keccak

from walletconnect.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_SIGNATURE = re.compile(r"(?:0x)?([0-9a-fA-F]{130})")
# Of s and its negative, which prove the same, wallets write the lower one (EIP-2).
MAX_S: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_PREFIX: Final = b"\x19Ethereum Signed Message:\n"


def _keccak256(content: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=content).digest()


def is_address(text: str) -> bool:
    return _ADDRESS.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def checksum_address(address: str) -> str:
    """EIP-55: upper case where the nibble of the lower-case text's hash is 8 or more."""
    if not is_address(address):
        raise RemoteProtocolError(ErrorCode.MALFORMED, "malformed address")
    digits = address[2:].lower()
    nibbles = _keccak256(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if int(nibble, 16) >= 8 else digit
        for digit, nibble in zip(digits, nibbles, strict=False)
    )


def personal_digest(message: str) -> bytes:
    """The hash that `personal_sign` signs (EIP-191)."""
    text = message.encode()
    return _keccak256(_PREFIX + str(len(text)).encode() + text)


def _address_of(public_key: coincurve.PublicKey) -> str:
    return checksum_address(
        "0x" + _keccak256(public_key.format(compressed=False)[1:])[-20:].hex()
    )


def address_of(private_key: bytes) -> str:
    return _address_of(coincurve.PrivateKey(private_key).public_key)


def recover_eip191(message: str, signature: str) -> str:
    """The EIP-55 address that signed `message` with `personal_sign`.

    `signature` is 65 bytes r | s | v in hex, `0x` optional, v as 0/1 or 27/28.
    """
    unauthentic = RemoteProtocolError(ErrorCode.UNAUTHENTIC, "signature does not fit")
    match = _SIGNATURE.fullmatch(signature)
    if match is None:
        raise unauthentic
    raw = bytes.fromhex(match[1])
    recovery = raw[64] - 27 if raw[64] >= 27 else raw[64]
    if recovery not in (0, 1):
        raise unauthentic
    try:
        public_key = coincurve.PublicKey.from_signature_and_message(
            raw[:64] + bytes([recovery]), personal_digest(message), hasher=None
        )
    except Exception:
        # libsecp256k1's wrapper raises bare Exception for r or s out of range.
        raise unauthentic from None
    return _address_of(public_key)


def sign_eip191(message: str, private_key: bytes) -> str:
    """`personal_sign`, deterministic (RFC 6979): `0x` and 130 lower-case hex digits.

    For the demo wallet and tests; a person's wallet signs on its own side.
    """
    if len(private_key) != 32:
        raise LocalProtocolError("a secp256k1 private key has 32 bytes")
    raw: bytes = coincurve.PrivateKey(private_key).sign_recoverable(
        personal_digest(message), hasher=None
    )
    return "0x" + raw[:64].hex() + bytes([raw[64] + 27]).hex()
