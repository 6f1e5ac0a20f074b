"""did:key, did:pkh, did:web, and the CAIP-10 account id.

Spec: CAIP-10, did:key and did:web methods; protocol.md, sections 1 and 5.4.

Everything in this protocol uses did:key with the Ed25519 prefix, also where the key is in
truth an X25519 key (`responseAuth.sub`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from walletconnect.crypto.base64url import decode_base64url, encode_base64url
from walletconnect.crypto.ethereum import checksum_address, is_address
from walletconnect.crypto.keys import check_public_key
from walletconnect.crypto.multikey import ED25519, decode_multikey, encode_multikey
from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import (
    JsonObject,
    JsonValue,
    malformed,
    parse_object,
    require_object,
)

DID_KEY: Final = "did:key:"
DID_PKH: Final = "did:pkh:"
DID_WEB: Final = "did:web:"

EIP155: Final = "eip155"
# What dapps write of an address where only the chain is missing.
_MAINNET: Final = "1"
# Some libraries put the whole address in upper case, its prefix included.
_EIP155_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}")

_ACCOUNT = re.compile(
    r"(?P<namespace>[-a-z0-9]{3,8}):(?P<reference>[-_a-zA-Z0-9]{1,32}):"
    r"(?P<address>[-.%a-zA-Z0-9]{1,128})"
)


def did_key(public_key: bytes, prefix: bytes = ED25519) -> str:
    return DID_KEY + encode_multikey(public_key, prefix)


def public_key_of(did: str, prefix: bytes = ED25519) -> bytes:
    """The 32 bytes in a did:key; only the canonical text is accepted."""
    if not did.startswith(DID_KEY):
        raise malformed("did:key")
    return decode_multikey(did[len(DID_KEY) :], prefix)


def is_did_key(text: str) -> bool:
    """Whether `text` is a canonical Ed25519 did:key."""
    try:
        public_key_of(text)
    except RemoteProtocolError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class AccountId:
    """A CAIP-10 account, spelled as its wallet spells it.

    An `eip155` account is its address: one key controls it on every chain, and wallets
    name whichever chain they are on. Two spellings of one address, in chain or letter
    case, are unequal values; compare with `same_as`, and index by `key`.
    """

    namespace: str
    reference: str
    address: str

    @classmethod
    def parse(cls, text: object) -> AccountId:
        match = _ACCOUNT.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise malformed("account")
        return cls(match["namespace"], match["reference"], match["address"])

    def __str__(self) -> str:
        return f"{self.namespace}:{self.reference}:{self.address}"

    @property
    def did(self) -> str:
        return f"{DID_PKH}{self}"

    @property
    def chain_id(self) -> str:
        """The CAIP-2 chain."""
        return f"{self.namespace}:{self.reference}"

    @property
    def is_ethereum(self) -> bool:
        return self.namespace == EIP155 and is_address(self.address)

    @property
    def key(self) -> str:
        """One text for every spelling: `eip155:0x…` in lower case, without the chain.

        Accounts of other namespaces have one spelling, which is their key.
        """
        if self.namespace == EIP155 and _EIP155_ADDRESS.fullmatch(self.address):
            return f"{EIP155}:{self.address.lower()}"
        return str(self)

    @property
    def checksummed(self) -> AccountId:
        """The spelling to show: EIP-55 for `eip155`, as given elsewhere."""
        if not self.is_ethereum:
            return self
        address = checksum_address(self.address)
        return AccountId(self.namespace, self.reference, address)

    def same_as(self, other: AccountId) -> bool:
        return self == other or self.key == other.key


def with_chain(text: str) -> str:
    """`text` as CAIP-10, if it is a bare `eip155` address; else unchanged.

    People copy addresses from wallets, which show no chain; any chain will do.
    """
    if _EIP155_ADDRESS.fullmatch(text):
        return f"{EIP155}:{_MAINNET}:{text}"
    return text


def did_pkh(account: AccountId) -> str:
    return account.did


def account_of(did: object) -> AccountId:
    """The account that a did:pkh names."""
    if not isinstance(did, str) or not did.startswith(DID_PKH):
        raise malformed("did:pkh")
    return AccountId.parse(did[len(DID_PKH) :])


_LONGEST_URL: Final = 2048
_SCHEMES: Final = ("https", "http")


@dataclass(frozen=True, slots=True)
class AppUrl:
    """A dapp's URL, taken apart: `https://host[:port][/path]`."""

    scheme: str
    authority: str
    path: str

    @classmethod
    def parse(cls, url: object) -> AppUrl:
        """`url` without user, query or fragment; a trailing slash is dropped."""
        if not isinstance(url, str) or len(url) > _LONGEST_URL:
            raise malformed("app url")
        # An address of other letters is written in punycode and percent signs.
        if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            raise malformed("app url")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise malformed("app url") from None
        if parts.scheme not in _SCHEMES or not parts.hostname or "@" in parts.netloc:
            raise malformed("app url")
        if parts.query or parts.fragment or {".", ".."} & set(parts.path.split("/")):
            raise malformed("app url")
        host = parts.hostname.lower()
        host = f"[{host}]" if ":" in host else host
        authority = host if port is None else f"{host}:{port}"
        return cls(parts.scheme, authority, parts.path.rstrip("/"))

    @classmethod
    def of_did(cls, did: str) -> AppUrl:
        """The app that a did:web names; loopback hosts have no certificates."""
        domain = _did_web_domain(did)
        local = re.fullmatch(r"localhost(:\d+)?(/.*)?", domain) is not None
        return cls.parse(f"{'http' if local else 'https'}://{domain}")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def domain(self) -> str:
        """The authority with its path: what `appDomain` and did:web name."""
        return self.authority + self.path

    @property
    def did(self) -> str:
        """The did:web of the app.

        The port keeps its plain colon, against the did:web method: the later client
        builds it like that and compares the text.
        """
        return DID_WEB + self.domain

    def well_known(self, name: str) -> str:
        return f"{self}/.well-known/{name}"

    def is_named_by(self, app: str) -> bool:
        """Whether the claim `app` means this app: its URL, a page below it, or did:web."""
        if app.startswith(DID_WEB):
            return _did_web_domain(app) == self.domain
        try:
            named = AppUrl.parse(app)
        except RemoteProtocolError:
            return False
        below = f"{named.path}/".startswith(f"{self.path}/")
        return named.authority == self.authority and below


def is_did_web(app: str) -> bool:
    return app.startswith(DID_WEB)


def _did_web_domain(did: str) -> str:
    """The domain in a did:web, in the method's own spelling or the client's.

    The method writes `host%3A8000:path:more`, the client `host:8000/path/more`.
    """
    segments = did[len(DID_WEB) :].rstrip("/").split(":")
    host = unquote(segments[0])
    rest = [unquote(segment) for segment in segments[1:]]
    if rest and rest[0].split("/")[0].isdigit():
        host = f"{host}:{rest.pop(0)}"
    return "/".join([host, *rest])


@dataclass(frozen=True, slots=True)
class DidWebDocument:
    """A did.json: the two public keys of a dapp, or of a Notify server.

    Departure: the August client reads `verificationMethod` by position, later ones by the
    references in `keyAgreement` and `authentication`. We read by reference if there is
    one, else by position, and write both.
    """

    did: str
    key_agreement: bytes
    authentication: bytes

    @property
    def authentication_did(self) -> str:
        """The did:key that the dapp signs as: `iss` of its tokens, `aud` of ours."""
        return did_key(self.authentication)

    @classmethod
    def from_json(cls, text: str | bytes) -> DidWebDocument:
        return cls.from_value(parse_object(text, "did.json"))

    @classmethod
    def from_value(cls, value: JsonValue) -> DidWebDocument:
        members = require_object(value, "did.json")
        methods = members.get("verificationMethod")
        if not isinstance(methods, list):
            raise malformed("did.json")
        key_agreement = _referenced(members, "keyAgreement", methods) or _at(methods, 0)
        authentication = _referenced(members, "authentication", methods) or _at(
            methods, 1
        )
        return cls(
            did=_plain_id(members.get("id")),
            key_agreement=check_public_key(_jwk_key(key_agreement, "X25519")),
            authentication=_jwk_key(authentication, "Ed25519"),
        )

    def to_value(self) -> JsonObject:
        subscribe = f"{self.did}#wc-notify-subscribe-key"
        authentication = f"{self.did}#wc-notify-authentication-key"
        return {
            "@context": [
                "https://www.w3.org/ns/did/v1",
                "https://w3id.org/security/suites/jws-2020/v1",
            ],
            "id": self.did,
            "verificationMethod": [
                self._method(subscribe, "X25519", self.key_agreement),
                self._method(authentication, "Ed25519", self.authentication),
            ],
            "keyAgreement": [subscribe],
            "authentication": [authentication],
        }

    def _method(self, method_id: str, curve: str, public_key: bytes) -> JsonObject:
        return {
            "id": method_id,
            "type": "JsonWebKey2020",
            "controller": self.did,
            "publicKeyJwk": {
                "kty": "OKP",
                "crv": curve,
                "x": encode_base64url(public_key),
            },
        }


def _plain_id(value: JsonValue) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_URL:
        return ""
    return value if value.isprintable() else ""


def _at(methods: list[JsonValue], position: int) -> JsonValue:
    return methods[position] if position < len(methods) else None


def _referenced(
    members: JsonObject, role: str, methods: list[JsonValue]
) -> JsonValue | None:
    """The verification method that `role` names first, or embeds."""
    references = members.get(role)
    if not isinstance(references, list) or not references:
        return None
    first = references[0]
    if isinstance(first, dict):
        return first
    return next(
        (
            each
            for each in methods
            if isinstance(each, dict) and each.get("id") == first
        ),
        None,
    )


def _jwk_key(method: JsonValue, curve: str) -> bytes:
    jwk = require_object(
        require_object(method, "did.json").get("publicKeyJwk"), "publicKeyJwk"
    )
    text = jwk.get("x")
    if jwk.get("crv") != curve or not isinstance(text, str):
        raise malformed("publicKeyJwk")
    try:
        # One server of 2024 pads `x`; all clients tolerate it.
        key = decode_base64url(text.rstrip("="))
    except RemoteProtocolError:
        raise malformed("publicKeyJwk") from None
    if len(key) != 32:
        raise malformed("publicKeyJwk")
    return key
