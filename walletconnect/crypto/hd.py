"""From 32 bytes of entropy to a child key: BIP-39, then BIP-32 on secp256k1.

Only private derivation, and no extended public keys at all: with non-hardened children,
one child's private key plus the parent's extended public key gives away the parent.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final

from coincurve import PrivateKey
from mnemonic import Mnemonic

from walletconnect.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

HARDENED: Final = 2**31


@cache
def _english() -> Mnemonic:
    return Mnemonic("english")


def mnemonic_of(entropy: bytes) -> str:
    """The BIP-39 sentence of 32 bytes: 24 English words."""
    words: str = _english().to_mnemonic(entropy)
    return words


def seed_of(mnemonic: str) -> bytes:
    """The BIP-39 seed, 64 bytes, with an empty passphrase."""
    return hashlib.pbkdf2_hmac("sha512", mnemonic.encode(), b"mnemonic", 2048)


@dataclass(frozen=True, slots=True, repr=False)
class HdKey:
    """A node of the BIP-32 tree. It has no `repr` of its own on purpose."""

    private_key: bytes = field(repr=False)
    chain_code: bytes = field(repr=False)

    @classmethod
    def from_seed(cls, seed: bytes) -> HdKey:
        digest = hmac.digest(b"Bitcoin seed", seed, "sha512")
        return cls(digest[:32], digest[32:])

    def child(self, index: int) -> HdKey:
        """The child at `index`; hardened from 2**31 on, as BIP-32 says."""
        if not 0 <= index < 2**32:
            raise LocalProtocolError("a BIP-32 index has 32 bits")
        parent = PrivateKey(self.private_key)
        if index < HARDENED:
            head = parent.public_key.format()
        else:
            head = b"\x00" + self.private_key
        digest = hmac.digest(self.chain_code, head + index.to_bytes(4, "big"), "sha512")
        # add() is the sum modulo the group order. A zero or overflowing key raises
        # there; that happens once in 2**127 and has no other answer.
        return HdKey(parent.add(digest[:32]).secret, digest[32:])

    def derive(self, path: Iterable[int]) -> HdKey:
        node = self
        for index in path:
            node = node.child(index)
        return node
