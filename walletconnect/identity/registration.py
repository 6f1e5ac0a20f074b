"""Taking an identity key back from a Keys Server.

Spec: servers/keys/keys-server-api.md; protocol.md, sections 7.3 and 7.4. Registering needs
no token: the CACAO is the proof (`walletconnect.identity.cacao`).

Departure: the clients write the times of this one token in milliseconds, the spec in
either unit. Both are read; milliseconds are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.did import AccountId, account_of
from walletconnect.identity.jwt import DidJwt, Times, sign_did_jwt
from walletconnect.relay.methods import DAY

if TYPE_CHECKING:
    from collections.abc import Collection

    from walletconnect.crypto.signing import IdentityKey

ACT: Final = "unregister_identity"
SUBJECT: Final = "identity_keys"
LIFE: Final = DAY


@dataclass(frozen=True, slots=True)
class Unregistration:
    """A proven wish to remove `did`. That it is `account`'s key is for the server to see."""

    did: str
    account: AccountId


def make_unregister_auth(
    key: IdentityKey, account: AccountId, *, keys_server_url: str, now: int
) -> str:
    return sign_did_jwt(
        {
            "iat": now * 1000,
            "exp": (now + LIFE) * 1000,
            "iss": key.did,
            "aud": keys_server_url,
            "pkh": account.did,
            "act": ACT,
            "sub": SUBJECT,
        },
        key,
    )


def read_unregister_auth(
    token: object, *, now: int, audiences: Collection[str] | None = None
) -> Unregistration:
    """`audiences` are the URLs under which clients may know this server."""
    jwt = DidJwt.parse(token).verify(
        now=now, act=ACT, max_life=LIFE, sub=SUBJECT, times=Times.EITHER
    )
    if audiences is not None and jwt.claims.get("aud") not in audiences:
        raise RemoteProtocolError(ErrorCode.MISMATCH, "claim aud does not fit")
    return Unregistration(jwt.iss, account_of(jwt.claims.get("pkh")))
