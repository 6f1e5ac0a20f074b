"""From 32 bytes of entropy to a child key: BIP-39, then BIP-32 on secp256k1.

Only private derivation, and no extended public keys at all: with non-hardened children,
one child's private key plus the parent's extended public key gives away the parent.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from coincurve import PublicKey
from mnemonic import Mnemonic

from walletconnect.errors import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

HARDENED: Final = 2**31

# Of secp256k1: private keys are added modulo this.
_GROUP_ORDER: Final = 2**256 - 0x14551231950B75FC4402DA1732FC9BEBF


@cache
def _english() -> Mnemonic:
    return Mnemonic("english")


def mnemonic_of(entropy: bytes) -> str:
    """The BIP-39 mnemonic of 32 bytes, in English."""
    mnemonic: str = _english().to_mnemonic(entropy)
    return mnemonic


def seed_of(mnemonic: str) -> bytes:
    """The BIP-39 seed, 64 bytes, with an empty passphrase."""
    return hashlib.pbkdf2_hmac("sha512", mnemonic.encode(), b"mnemonic", 2048)


@dataclass(frozen=True, slots=True, repr=False)
class HdKey:
    """A node of the BIP-32 tree. It has no `repr` of its own on purpose."""

    private_key: bytes
    chain_code: bytes

    @classmethod
    def from_seed(cls, seed: bytes) -> HdKey:
        digest = hmac.digest(b"Bitcoin seed", seed, "sha512")
        return cls(digest[:32], digest[32:])

    def derive(self, path: Iterable[int]) -> HdKey:
        """The node below this one at `path`; an index from 2**31 on is hardened."""
        node = self
        for index in path:
            node = node._child(index)
        return node

    def _child(self, index: int) -> HdKey:
        if not 0 <= index < 2**32:
            raise LocalProtocolError("a BIP-32 index has 32 bits")
        if index < HARDENED:
            head = PublicKey.from_valid_secret(self.private_key).format()
        else:
            head = b"\x00" + self.private_key
        digest = hmac.digest(self.chain_code, head + index.to_bytes(4, "big"), "sha512")
        tweak = int.from_bytes(digest[:32], "big")
        key = (tweak + int.from_bytes(self.private_key, "big")) % _GROUP_ORDER
        if tweak >= _GROUP_ORDER or key == 0:
            # Once in 2**127; BIP-32 then skips the index, and the clients fail too.
            raise LocalProtocolError("this BIP-32 index has no key")
        return HdKey(key.to_bytes(32, "big"), digest[32:])
