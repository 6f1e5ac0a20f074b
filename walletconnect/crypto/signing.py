"""Ed25519: identity keys, relay client keys, dapp authentication keys.

Verification is libsodium's and strict: S is reduced, the key and R are canonical and not
of small order. The clients' own check (@noble, zip215) is laxer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from nacl.bindings import (
    crypto_sign,
    crypto_sign_BYTES,
    crypto_sign_open,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import CryptoError

from walletconnect.crypto.multikey import encode_multikey
from walletconnect.errors import ErrorCode, LocalProtocolError, RemoteProtocolError

_SEED_LENGTH: Final = 32
SIGNATURE_LENGTH: Final = crypto_sign_BYTES


@dataclass(frozen=True, slots=True)
class IdentityKey:
    """An Ed25519 key pair. `repr` shows its did:key only."""

    seed: bytes = field(repr=False)
    public_key: bytes = field(init=False, repr=False, compare=False)
    did: str = field(init=False, compare=False)
    _secret_key: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.seed) != _SEED_LENGTH:
            raise LocalProtocolError("an Ed25519 seed has 32 bytes")
        public_key, secret_key = crypto_sign_seed_keypair(self.seed)
        object.__setattr__(self, "public_key", public_key)
        object.__setattr__(self, "did", f"did:key:{encode_multikey(public_key)}")
        object.__setattr__(self, "_secret_key", secret_key)

    @classmethod
    def from_seed(cls, seed: bytes) -> IdentityKey:
        return cls(seed)

    def sign(self, message: bytes) -> bytes:
        return crypto_sign(message, self._secret_key)[:SIGNATURE_LENGTH]


def verify_ed25519(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Return if `signature` is `public_key`'s over `message`, else raise."""
    try:
        if len(signature) == SIGNATURE_LENGTH:
            crypto_sign_open(signature + message, public_key)
            return
    except (CryptoError, ValueError, TypeError):
        pass
    raise RemoteProtocolError(ErrorCode.UNAUTHENTIC, "signature does not fit")
