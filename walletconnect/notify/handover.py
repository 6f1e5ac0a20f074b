"""A dapp replaced its keys: what the previous authentication key signs about the new ones.

An extension of ours. did.json lists the tokens in a member that other clients ignore, so
a wallet that has pinned the previous keys need not ask a person about the new ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from walletconnect.identity.did import did_key, public_key_of
from walletconnect.identity.jwt import DidJwt, sign_did_jwt
from walletconnect.json_values import JsonValue, malformed

if TYPE_CHECKING:
    from walletconnect.crypto.signing import IdentityKey

_ACT: Final = "notify_key_handover"
# Longer than any operator should keep previous keys.
_MAX_LIFE: Final = 800 * 86_400


@dataclass(frozen=True, slots=True)
class KeyHandover:
    """`previous` (a did:key) hands over to the new keys; messages it signed count until
    `expires_at`."""

    previous: str
    authentication: str
    key_agreement: str
    expires_at: int


def sign_handover(
    previous: IdentityKey,
    *,
    authentication: str,
    key_agreement: str,
    now: int,
    expires_at: int,
) -> str:
    """`authentication` is a did:key, `key_agreement` the X25519 key in hex."""
    claims: dict[str, JsonValue] = {
        "act": _ACT,
        "iat": now,
        "exp": expires_at,
        "iss": previous.did,
        "sub": authentication,
        "kag": key_agreement,
    }
    return sign_did_jwt(claims, previous)


def read_handover(text: object, *, now: int) -> KeyHandover:
    """The verified token, or raise."""
    token = DidJwt.parse(text)
    token.verify(now=now, act=_ACT, max_life=_MAX_LIFE)
    sub, kag, exp = (token.claims.get(name) for name in ("sub", "kag", "exp"))
    if not (isinstance(sub, str) and isinstance(kag, str) and isinstance(exp, int)):
        raise malformed("key handover")
    return KeyHandover(
        previous=token.iss,
        authentication=did_key(public_key_of(sub)),
        key_agreement=kag,
        expires_at=exp,
    )
