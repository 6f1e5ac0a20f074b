"""CACAO: an account's signed statement that a key may sign on its behalf.

Spec: CAIP-74, CAIP-122; clients/core/identity/identity-keys.md.

A CACAO is kept and served field for field as it came, because others verify it again. Its
signature covers a text that is rebuilt from the payload (`walletconnect.identity.siwe`).
The identity key is in one of three places, by client version: a query parameter of `aud` or
`uri`, `aud` itself, or the first resource.

Departures: control characters are refused in every field (a newline could fake a line of
the signed text); exactly one did:key may occur in the whole CACAO; the header `caip122` of
v1 is read like `eip4361`, because the text is the same.

A signature of type `eip1271` is a contract's. `verify` checks everything else and raises
`ContractCheckNeeded`; the caller asks the chain and returns with `accepted_by_contract`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from walletconnect.crypto.ethereum import personal_digest, recover_eip191
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.contract_wallet import (
    MAX_SIGNATURE_BYTES,
    ContractCheck,
    ContractCheckNeeded,
    read_chain_id,
    read_signature,
)
from walletconnect.identity.did import AccountId, account_of, is_did_key
from walletconnect.identity.jwt import LEEWAY
from walletconnect.identity.siwe import SignedText
from walletconnect.json_values import (
    JsonObject,
    JsonValue,
    dump_json,
    malformed,
    parse_object,
    require_line,
    require_object,
    require_text,
    take_line,
    take_object,
    take_optional_line,
)

_HEADERS: Final = ("eip4361", "caip122")
_EIP191: Final = "eip191"
EIP1271: Final = "eip1271"
VERSION: Final = "1"
_KEY_PARAMETER: Final = "walletconnect_identity_key"

_MAX_FIELD_LENGTH: Final = 2048
_MAX_RESOURCE_LENGTH: Final = 16 * 1024
_MAX_RESOURCES: Final = 32
_MAX_SIGNATURE_LENGTH: Final = len("0x") + 2 * MAX_SIGNATURE_BYTES
_MAX_LENGTH: Final = 64 * 1024
_REMEMBERED: Final = 1024

_DID_KEY = re.compile(r"did:key:[0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class CacaoPayload:
    """The signed fields. Absent, null and empty differ in `statement`."""

    iss: str
    domain: str
    aud: str
    version: str
    nonce: str
    iat: str
    statement: str | None = None
    exp: str | None = None
    nbf: str | None = None
    request_id: str | None = None
    resources: tuple[str, ...] | None = None
    uri: str | None = None

    @property
    def account(self) -> AccountId:
        return account_of(self.iss)

    @property
    def signed_text(self) -> SignedText:
        return SignedText(
            domain=self.domain,
            account=self.account,
            statement=self.statement,
            uri=self.aud or self.uri or "",
            version=self.version,
            nonce=self.nonce,
            issued_at=self.iat,
            expiration_time=self.exp,
            not_before=self.nbf,
            request_id=self.request_id,
            resources=self.resources,
        )

    @property
    def identity_key(self) -> str | None:
        """The did:key in the first place that holds a valid one."""
        return _find_identity_key(self)

    @property
    def keys_server(self) -> str | None:
        """The Keys Server's URL, in the form that has the key in `resources`.

        v1 has the key, or the app's URL with it, in `aud`, and names no server.
        """
        is_v1 = any(is_did_key(place) for place in self.key_places_of_v1())
        return None if is_v1 else self.aud

    def key_places_of_v1(self) -> tuple[str, ...]:
        return (_key_parameter(self.aud), _key_parameter(self.uri or ""), self.aud)

    @classmethod
    def from_value(cls, value: JsonValue) -> CacaoPayload:
        members = require_object(value, "cacao payload")
        version = members.get("version")
        if type(version) is int:
            # Some builders write the number.
            version = str(version)
        return cls(
            iss=take_line(members, "iss", max_length=_MAX_FIELD_LENGTH),
            domain=take_line(members, "domain", max_length=_MAX_FIELD_LENGTH),
            aud=take_optional_line(members, "aud", max_length=_MAX_FIELD_LENGTH) or "",
            version=require_line(version, "version", max_length=16),
            nonce=take_line(members, "nonce", max_length=_MAX_FIELD_LENGTH),
            iat=take_line(members, "iat", max_length=_MAX_FIELD_LENGTH),
            statement=take_optional_line(
                members, "statement", max_length=_MAX_FIELD_LENGTH
            ),
            exp=take_optional_line(members, "exp", max_length=_MAX_FIELD_LENGTH),
            nbf=take_optional_line(members, "nbf", max_length=_MAX_FIELD_LENGTH),
            request_id=take_optional_line(
                members, "requestId", max_length=_MAX_FIELD_LENGTH
            ),
            resources=_read_resources(members.get("resources")),
            uri=take_optional_line(members, "uri", max_length=_MAX_FIELD_LENGTH),
        )

    def to_value(self) -> JsonObject:
        members: dict[str, JsonValue] = {
            "aud": self.aud,
            "statement": self.statement,
            "domain": self.domain,
            "iss": self.iss,
            "nonce": self.nonce,
            "iat": self.iat,
            "version": self.version,
            "exp": self.exp,
            "nbf": self.nbf,
            "requestId": self.request_id,
            "uri": self.uri,
            "resources": None if self.resources is None else list(self.resources),
        }
        return {name: value for name, value in members.items() if value is not None}


def _key_parameter(url: str) -> str:
    try:
        return parse_qs(urlsplit(url).query).get(_KEY_PARAMETER, [""])[0]
    except ValueError:
        return ""


def _read_resources(value: JsonValue) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > _MAX_RESOURCES:
        raise malformed("resources")
    return tuple(
        require_line(each, "resource", max_length=_MAX_RESOURCE_LENGTH)
        for each in value
    )


@dataclass(frozen=True, slots=True)
class Cacao:
    """A parsed CACAO. Its fields are unverified until `verify` has returned.

    `text` is the JSON as it came, so that it can be served unchanged. `accepted` is the
    question that the account's contract has answered with yes.
    """

    header: str
    payload: CacaoPayload
    signature_type: str
    signature: str = field(repr=False)
    text: str = field(repr=False, compare=False)
    accepted: ContractCheck | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_value(cls, value: JsonValue) -> Cacao:
        members = require_object(value, "cacao")
        try:
            text = dump_json(members)
        except TypeError:
            # Numbers or characters that no JSON text can carry.
            raise malformed("cacao") from None
        require_text(text, "cacao", max_length=_MAX_LENGTH)
        signature = take_object(members, "s")
        return cls(
            header=take_line(take_object(members, "h"), "t", max_length=32),
            payload=CacaoPayload.from_value(members.get("p")),
            signature_type=take_line(signature, "t", max_length=32),
            signature=take_line(signature, "s", max_length=_MAX_SIGNATURE_LENGTH),
            text=text,
        )

    @classmethod
    def from_json(cls, text: str) -> Cacao:
        return cls.from_value(parse_object(text, "cacao"))

    @classmethod
    def signed(
        cls, payload: CacaoPayload, signature: str, signature_type: str = _EIP191
    ) -> Cacao:
        """The CACAO of a payload that a wallet has just signed."""
        return cls.from_value(
            {
                "h": {"t": _HEADERS[0]},
                "p": payload.to_value(),
                "s": {"t": signature_type, "s": signature},
            }
        )

    def to_value(self) -> JsonObject:
        return parse_object(self.text)

    @property
    def account(self) -> AccountId:
        return self.payload.account

    @property
    def identity_key(self) -> str:
        """The did:key that this CACAO is about."""
        did = self.payload.identity_key
        if did is None:
            raise malformed("cacao: no identity key")
        return did

    def verify(
        self,
        *,
        now: int,
        domain: str | None = None,
        nonce: str | None = None,
        aud: str | None = None,
    ) -> AccountId:
        """The account that signed this; every rule of this module is checked.

        `domain`, `nonce` and `aud` are compared when given, as at a sign-in. Raises
        `ContractCheckNeeded` if all is valid but the signature, which is a contract's.
        """
        _verify_form(self)
        payload = self.payload
        expected = {
            "domain": (domain, payload.domain),
            "nonce": (nonce, payload.nonce),
            "aud": (aud, payload.aud),
        }
        for name, (wanted, found) in expected.items():
            if wanted is not None and wanted != found:
                raise RemoteProtocolError(
                    ErrorCode.MISMATCH, f"cacao {name} does not fit"
                )
        self.verify_times(now)
        return self._verify_signature()

    def verify_except_times(self) -> AccountId:
        """As `verify`, but for the times: an answer that stays the same for ever."""
        _verify_form(self)
        return self._verify_signature()

    def _verify_signature(self) -> AccountId:
        if self.signature_type == EIP1271:
            check = self.contract_check
            if self.accepted != check:
                raise ContractCheckNeeded(check)
            return self.account
        return _recover_account(self)

    def verify_times(self, now: int) -> None:
        payload = self.payload
        if _parse_time(payload.iat) > now + LEEWAY:
            raise RemoteProtocolError(
                ErrorCode.CLOCK, "cacao is from the future: check the clock"
            )
        if payload.exp is not None and _parse_time(payload.exp) < now - LEEWAY:
            raise RemoteProtocolError(ErrorCode.EXPIRED, "cacao has expired")
        if payload.nbf is not None and _parse_time(payload.nbf) > now + LEEWAY:
            raise RemoteProtocolError(ErrorCode.CLOCK, "cacao is not valid yet")

    @property
    def contract_check(self) -> ContractCheck:
        """What to ask the account's chain about the signature."""
        return ContractCheck(
            chain_id=read_chain_id(self.account.reference),
            address=self.account.address.lower(),
            hashes=tuple(
                personal_digest(text) for text in self.payload.signed_text.texts()
            ),
            signature=read_signature(self.signature),
        )

    def accepted_by_contract(self, check: ContractCheck) -> Cacao:
        """This CACAO after its account's contract accepted the signature of `check`."""
        return replace(self, accepted=check)

    def verify_signer(self, did: str, account: AccountId, *, now: int) -> None:
        """Raise unless this CACAO, verified now, authorizes `did` for `account`."""
        if self.identity_key != did or not self.account.same_as(account):
            raise RemoteProtocolError(
                ErrorCode.MISMATCH, "cacao is not about this key and account"
            )
        self.verify(now=now)


# A device signs every receipt with the key of one CACAO, and these cost three times what
# the rest of a receipt's check does. They depend on nothing that is not compared, and what
# they refuse is not remembered.


@lru_cache(maxsize=_REMEMBERED)
def _find_identity_key(payload: CacaoPayload) -> str | None:
    places = [*payload.key_places_of_v1(), *(payload.resources or ())[:1]]
    return next((place for place in places if is_did_key(place)), None)


@lru_cache(maxsize=_REMEMBERED)
def _verify_form(cacao: Cacao) -> None:
    payload = cacao.payload
    if cacao.header not in _HEADERS:
        raise RemoteProtocolError(ErrorCode.UNSUPPORTED, "unknown cacao header")
    if cacao.signature_type not in (_EIP191, EIP1271) or not cacao.account.is_ethereum:
        raise RemoteProtocolError(
            ErrorCode.UNSUPPORTED, "unsupported cacao signature type"
        )
    if payload.version != VERSION:
        raise RemoteProtocolError(ErrorCode.UNSUPPORTED, "unknown cacao version")
    # Unquoted, because a URL could hide a second key behind percent-encoding.
    named = set(_DID_KEY.findall(unquote(dump_json(payload.to_value()))))
    if named != {cacao.identity_key}:
        raise malformed("cacao: more than one did:key")


@lru_cache(maxsize=_REMEMBERED)
def _recover_account(cacao: Cacao) -> AccountId:
    address = cacao.account.address.lower()
    for text in cacao.payload.signed_text.texts():
        if recover_eip191(text, cacao.signature).lower() == address:
            return cacao.account
    raise RemoteProtocolError(ErrorCode.UNAUTHENTIC, "signature does not fit")


def build_message(payload: CacaoPayload) -> str:
    """The text to sign, as the client of August 2023 builds it."""
    return payload.signed_text.build()


def _parse_time(text: str) -> int:
    """Seconds UTC of an ISO 8601 time; one without an offset is refused."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise malformed("cacao time") from None
    if moment.tzinfo is None:
        raise malformed("cacao time")
    return int(moment.timestamp())


def format_time(now: int) -> str:
    """ISO 8601 UTC with milliseconds, as JavaScript writes it."""
    moment = datetime.fromtimestamp(now, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
