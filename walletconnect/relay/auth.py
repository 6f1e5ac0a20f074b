"""The token that opens a relay connection, and a request to the History Server.

Spec: servers/relay/relay-client-auth.md.

A client id is the did:key of an Ed25519 key of the installation, unrelated to any identity
key. The released clients send no `act`, so its absence is accepted and a wrong one is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.jwt import DidJwt, sign_did_jwt
from walletconnect.relay.methods import DAY

if TYPE_CHECKING:
    from collections.abc import Collection

    from walletconnect.crypto.signing import IdentityKey

_ACT: Final = "client_auth"
_LIFE: Final = DAY


def make_client_auth(key: IdentityKey, *, aud: str, now: int, nonce: bytes) -> str:
    """A token of one day. `aud` is the server's URL; `nonce` is 32 random bytes."""
    return sign_did_jwt(
        {
            "iss": key.did,
            "sub": nonce.hex(),
            "aud": aud,
            "iat": now,
            "exp": now + _LIFE,
        },
        key,
    )


def verify_client_auth(
    token: str, *, now: int, audiences: Collection[str] | None = None
) -> str:
    """The client id that `token` proves.

    Without `audiences` any `aud` is accepted: clients reach one relay by many names.
    """
    jwt = DidJwt.parse(token).verify(now=now, act=None, max_life=_LIFE)
    if jwt.claims.get("act") not in (None, _ACT):
        raise RemoteProtocolError(ErrorCode.MISMATCH, "claim act does not fit")
    if audiences is not None and jwt.claims.get("aud") not in audiences:
        raise RemoteProtocolError(ErrorCode.MISMATCH, "claim aud does not fit")
    return jwt.iss
