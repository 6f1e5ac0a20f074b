"""did-jwt: a signed set of claims, and the one strict verifier of this code base.

Spec: clients/core/identity/identity-keys.md and the did-jwt pages.

    base64url(header) . base64url(claims) . base64url(signature), no padding

The signature covers the text before the last dot as it was received; nothing is ever
re-serialised. Times are seconds, except in Keys Server tokens, where the clients write
milliseconds (`Times.EITHER`).

Departures: the released clients check nothing but `act`, and their servers neither `aud`
nor `app`. Here the caller states what it expects, and all of it is checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from walletconnect.crypto.base64url import decode_base64url, encode_base64url
from walletconnect.crypto.signing import SIGNATURE_LENGTH, verify_ed25519
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.did import public_key_of
from walletconnect.json_values import (
    JsonObject,
    JsonValue,
    dump_json,
    malformed,
    parse_object,
    require_line,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from walletconnect.crypto.signing import IdentityKey

LEEWAY: Final = 120  # seconds that two clocks may differ

_MAX_LENGTH: Final = 512 * 1024  # one relay message
_MAX_ISS_LENGTH: Final = 256  # a did:key has 56 characters
# A time above this is in milliseconds: in seconds it would be the year 5138.
_MILLISECONDS_FROM: Final = 10**11
_MAX_TIME: Final = 2**53 - 1

_HEADER: Final[dict[str, JsonValue]] = {"alg": "EdDSA", "typ": "JWT"}


class Times(Enum):
    """The unit of `iat` and `exp`."""

    SECONDS = "seconds"
    EITHER = "seconds or milliseconds"


_ENCODED_HEADER: Final = encode_base64url(dump_json(_HEADER).encode())


@dataclass(frozen=True, slots=True)
class DidJwt:
    """A parsed token. Its claims are unverified until `verify` has returned."""

    text: str = field(repr=False)
    claims: JsonObject = field(repr=False)
    signature: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: object) -> DidJwt:
        if not isinstance(text, str) or not text.isascii():
            raise malformed("did-jwt")
        if len(text) > _MAX_LENGTH:
            raise RemoteProtocolError(ErrorCode.TOO_LARGE, "did-jwt is too long")
        parts = text.split(".")
        if len(parts) != 3:
            raise malformed("did-jwt")
        # The usual header needs no parsing. Servers in Rust write `typ` first.
        if parts[0] != _ENCODED_HEADER:
            header = parse_object(decode_base64url(parts[0]), "did-jwt header")
            if header != _HEADER:
                raise malformed("did-jwt header")
        claims = parse_object(decode_base64url(parts[1]), "did-jwt claims")
        signature = decode_base64url(parts[2])
        if len(signature) != SIGNATURE_LENGTH:
            raise malformed("did-jwt signature")
        return cls(text, claims, signature)

    @property
    def iss(self) -> str:
        # Looked up in the database before it is verified, so it must be storable text.
        return require_line(
            self.claims.get("iss"), "claim iss", max_length=_MAX_ISS_LENGTH
        )

    @property
    def act(self) -> str | None:
        act = self.claims.get("act")
        return act if isinstance(act, str) else None

    @property
    def issued_at(self) -> int:
        """`iat` in seconds, whichever unit it is written in."""
        return self._time_claim("iat", Times.EITHER)

    def verify(
        self,
        *,
        now: int,
        act: str | None,
        max_life: int,
        iss: str | None = None,
        aud: str | None = None,
        sub: str | None = None,
        app: str | None = None,
        ksu: Collection[str] | None = None,
        times: Times = Times.SECONDS,
    ) -> DidJwt:
        """Return self if signature, times and all expected claims are right.

        What is None is not checked; then the caller must check that claim itself.
        `ksu` is the allow-list of key servers.
        """
        signed = self.text[: self.text.rindex(".")].encode("ascii")
        verify_ed25519(public_key_of(self.iss), self.signature, signed)
        expected = {"act": act, "iss": iss, "aud": aud, "sub": sub, "app": app}
        for name, value in expected.items():
            if value is not None and self.claims.get(name) != value:
                raise _mismatch(name)
        # A list would be asked for its hash, and has none.
        keys_server = self.claims.get("ksu")
        if ksu is not None and not (
            isinstance(keys_server, str) and keys_server in ksu
        ):
            raise _mismatch("ksu")
        iat = self._time_claim("iat", times)
        exp = self._time_claim("exp", times)
        if exp < now - LEEWAY:
            raise RemoteProtocolError(ErrorCode.EXPIRED, "did-jwt has expired")
        if iat > now + LEEWAY:
            raise RemoteProtocolError(
                ErrorCode.CLOCK, "did-jwt is from the future: check the clock"
            )
        if not 0 <= exp - iat <= max_life:
            raise RemoteProtocolError(ErrorCode.MALFORMED, "did-jwt lives too long")
        return self

    def _time_claim(self, name: str, times: Times) -> int:
        value = self.claims.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise malformed(f"claim {name}")
        if not 0 <= value <= _MAX_TIME:
            raise malformed(f"claim {name}")
        if times is Times.EITHER and value > _MILLISECONDS_FROM:
            return value // 1000
        return value


def _mismatch(name: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.MISMATCH, f"claim {name} does not fit")


def sign_did_jwt(claims: Mapping[str, JsonValue], key: IdentityKey) -> str:
    """The token of `claims`, members in the order given. `iss` must be `key.did`."""
    return sign_encoded(encode_base64url(dump_json(claims).encode()), key)


def sign_encoded(encoded_claims: str, key: IdentityKey) -> str:
    """As `sign_did_jwt`, for claims that are encoded already (batches)."""
    signed = f"{_ENCODED_HEADER}.{encoded_claims}"
    return f"{signed}.{encode_base64url(key.sign(signed.encode('ascii')))}"
