"""The one source of randomness, so that the core can take it as an argument."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

_Value = TypeVar("_Value")

KEY_LENGTH = 32
IV_LENGTH = 12


def key_bytes() -> bytes:
    """Thirty-two bytes: a private key, a symmetric key, a seed."""
    return secrets.token_bytes(KEY_LENGTH)


def iv() -> bytes:
    """Twelve bytes: the nonce of one ChaCha20-Poly1305 or AES-GCM sealing."""
    return secrets.token_bytes(IV_LENGTH)


def ivs(count: int) -> list[bytes]:
    found = random_bytes(IV_LENGTH * count)
    return [
        found[start : start + IV_LENGTH] for start in range(0, len(found), IV_LENGTH)
    ]


def random_bytes(count: int) -> bytes:
    """For many values at once: a call for each costs 2 us."""
    return secrets.token_bytes(count)


def token_hex(byte_count: int) -> str:
    return secrets.token_hex(byte_count)


def choice(values: Sequence[_Value]) -> _Value:
    return secrets.choice(values)


def jitter(seconds: float, *, share: float = 0.2) -> float:
    """``seconds`` moved by at most ``share`` of it, so that retries spread out."""
    spread = 2 * share * secrets.randbelow(1_000_001) / 1_000_000 - share
    return seconds * (1 + spread)
