"""The tokens that a Keys Server takes: identity keys withdrawn, invite keys set.

Spec: servers/keys/keys-server-api.md. Registering an identity key needs no token: its
CACAO is the proof (`walletconnect.identity.cacao`).

Departures: the clients write the times of these tokens in milliseconds, the spec in either
unit; both are read, and milliseconds are written. The published server checks the
signature alone; here times, audience and account are checked too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.did import AccountId, account_of
from walletconnect.identity.jwt import DidJwt, Times, sign_did_jwt
from walletconnect.relay.methods import THIRTY_DAYS

if TYPE_CHECKING:
    from collections.abc import Collection

    from walletconnect.crypto.signing import IdentityKey
    from walletconnect.json_values import JsonValue

# The token in the spec lives thirty days, those of the released clients one day.
_LIFE: Final = THIRTY_DAYS


class KeysServerAct(StrEnum):
    UNREGISTER_IDENTITY = "unregister_identity"
    REGISTER_INVITE = "register_invite"
    UNREGISTER_INVITE = "unregister_invite"


@dataclass(frozen=True, slots=True)
class KeysServerAuth:
    """A verified token. Whether `did` is a key of the account is for the server to check."""

    did: str
    issued_at: int
    sub: JsonValue
    pkh: JsonValue

    @property
    def account(self) -> AccountId:
        return account_of(self.pkh)


def sign_unregister_identity(
    key: IdentityKey, account: AccountId, *, keys_server_url: str, now_ms: int
) -> str:
    return sign_did_jwt(
        {
            "iat": now_ms,
            "exp": now_ms + _LIFE * 1000,
            "iss": key.did,
            "aud": keys_server_url,
            "pkh": account.did,
            "act": KeysServerAct.UNREGISTER_IDENTITY,
            "sub": "identity_keys",
        },
        key,
    )


def read_keys_server_auth(
    token: object, act: KeysServerAct, *, now: int, audiences: Collection[str]
) -> KeysServerAuth:
    """Verify a token for a server that clients reach under the URLs `audiences`."""
    jwt = DidJwt.parse(token).verify(
        now=now, act=act, max_life=_LIFE, times=Times.EITHER
    )
    aud = jwt.claims.get("aud")
    if not isinstance(aud, str) or not names_server(aud, audiences):
        raise RemoteProtocolError(
            ErrorCode.MISMATCH, "aud does not name this Keys Server"
        )
    return KeysServerAuth(
        did=jwt.iss,
        issued_at=jwt.issued_at,
        sub=jwt.claims.get("sub"),
        pkh=jwt.claims.get("pkh"),
    )


def names_server(url: str, audiences: Collection[str]) -> bool:
    """Whether `url` leads to a server that clients reach under the URLs `audiences`."""
    return _host(url) in {_host(audience) for audience in audiences}


def _host(url: str) -> str:
    # Host and port only: behind a proxy the scheme is not the one that the client wrote.
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""
