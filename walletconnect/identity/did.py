"""did:key, did:pkh, did:web, and the CAIP-10 account id.

Spec: CAIP-10, did:key and did:web methods.

Everything in this protocol uses did:key with the Ed25519 prefix, also where the key is in
truth an X25519 key (`responseAuth.sub`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from walletconnect.crypto.base64url import decode_base64url, encode_base64url
from walletconnect.crypto.ethereum import checksum_address, is_address
from walletconnect.crypto.keys import check_public_key
from walletconnect.crypto.multikey import (
    ED25519,
    X25519,
    decode_multikey,
    encode_multikey,
)
from walletconnect.errors import ErrorCode, RemoteProtocolError
from walletconnect.identity.app_url import DID_WEB, MAX_URL, AppUrl, is_did_web
from walletconnect.json_values import (
    JsonObject,
    JsonValue,
    malformed,
    parse_object,
    require_object,
)

__all__ = [
    "DID_KEY",
    "DID_WEB",
    "AccountId",
    "AppUrl",
    "DidWebDocument",
    "account_of",
    "authentication_of",
    "did_key",
    "document_id",
    "handovers_of",
    "is_did_key",
    "is_did_web",
    "is_id_of",
    "key_agreement_of",
    "public_key_of",
]

DID_KEY: Final = "did:key:"
_DID_PKH: Final = "did:pkh:"
_HANDOVERS: Final = "keyHandovers"
_MAX_HANDOVERS: Final = 10

_EIP155: Final = "eip155"
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
    """A CAIP-10 account, written as its wallet writes it.

    An `eip155` account is its address: one key controls it on every chain, and wallets
    name whichever chain they are on. Forms of one address that differ in chain or letter
    case are unequal values; compare with `same_as`, and index by `key`.
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
        return f"{_DID_PKH}{self}"

    @property
    def is_ethereum(self) -> bool:
        return self.namespace == _EIP155 and is_address(self.address)

    @property
    def key(self) -> str:
        """Equal for all forms of an account: `eip155:0x…` in lower case, without the chain.

        Accounts of other namespaces have a single form, which is their key.
        """
        if self.namespace == _EIP155 and _EIP155_ADDRESS.fullmatch(self.address):
            return f"{_EIP155}:{self.address.lower()}"
        return str(self)

    @property
    def checksummed(self) -> AccountId:
        """The form to show: EIP-55 for `eip155`, as given elsewhere."""
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
        return f"{_EIP155}:{_MAINNET}:{text}"
    return text


def account_of(did: object) -> AccountId:
    """The account that a did:pkh names."""
    if not isinstance(did, str) or not did.startswith(_DID_PKH):
        raise malformed("did:pkh")
    return AccountId.parse(did[len(_DID_PKH) :])


@dataclass(frozen=True, slots=True)
class DidWebDocument:
    """A did.json: the two public keys of a dapp, or of a Notify server.

    Departure: v0 clients read `verificationMethod` by position, v1 clients by the
    references in `keyAgreement` and `authentication`. We read by reference if there is
    one, else by position, and write both.
    """

    did: str
    key_agreement: bytes
    authentication: bytes
    # Departure: pairs of keys that these replaced, listed behind them, and what the
    # replaced ones sign about that (`walletconnect.notify.handover`).
    replaced: tuple[tuple[bytes, bytes], ...] = ()
    handovers: tuple[str, ...] = ()

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
        return cls(
            did=document_id(members),
            key_agreement=key_agreement_of(members),
            authentication=authentication_of(members),
            handovers=handovers_of(members),
        )

    def to_value(self) -> JsonObject:
        pairs = [(self.key_agreement, self.authentication), *self.replaced]
        methods: list[JsonValue] = []
        subscribe: list[JsonValue] = []
        authentication: list[JsonValue] = []
        for number, (key_agreement, signing) in enumerate(pairs):
            # Clients take the first of each, by position or by reference.
            suffix = f"-{number}" if number else ""
            subscribe.append(f"{self.did}#wc-notify-subscribe-key{suffix}")
            authentication.append(f"{self.did}#wc-notify-authentication-key{suffix}")
            methods += [
                self._method(str(subscribe[-1]), "X25519", key_agreement),
                self._method(str(authentication[-1]), "Ed25519", signing),
            ]
        value: JsonObject = {
            "@context": [
                "https://www.w3.org/ns/did/v1",
                "https://w3id.org/security/suites/jws-2020/v1",
            ],
            "id": self.did,
            "verificationMethod": methods,
            "keyAgreement": subscribe,
            "authentication": authentication,
        }
        if self.handovers:
            value[_HANDOVERS] = list(self.handovers)
        return value

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


def document_id(members: JsonObject) -> str:
    """The `id` of a did.json, or nothing if it has no usable one."""
    value = members.get("id")
    if not isinstance(value, str) or len(value) > MAX_URL:
        return ""
    return value if value.isprintable() else ""


def is_id_of(did: str, url: AppUrl) -> bool:
    """Whether `did` is the did:web of the dapp at `url`, or of its host."""
    if not is_did_web(did):
        return False
    try:
        named = AppUrl.of_did(did)
    except RemoteProtocolError:
        return False
    return named.domain in (url.domain, url.authority, url.host)


def handovers_of(members: JsonObject) -> tuple[str, ...]:
    """The unverified handover tokens; a document with something else there has none."""
    listed = members.get(_HANDOVERS)
    if not isinstance(listed, list):
        return ()
    texts = [each for each in listed if isinstance(each, str)]
    return tuple(texts[:_MAX_HANDOVERS])


def key_agreement_of(members: JsonObject) -> bytes:
    """The X25519 key that subscribe requests are encrypted to."""
    return check_public_key(_role_key(members, "keyAgreement", "X25519", position=0))


def authentication_of(members: JsonObject) -> bytes:
    """The Ed25519 key that the dapp signs with."""
    return _role_key(members, "authentication", "Ed25519", position=1)


_MULTICODECS: Final = {"X25519": X25519, "Ed25519": ED25519}


def _role_key(members: JsonObject, role: str, curve: str, *, position: int) -> bytes:
    """The first key of `curve` that `role` refers to or embeds (DID Core, 5.3).

    Methods of other curves are for other protocols and are ignored. A document without
    any such reference is read by position, as v0 clients read it.
    """
    listed = members.get("verificationMethod")
    methods = (
        [each for each in listed if isinstance(each, dict)]
        if isinstance(listed, list)
        else []
    )
    found = _referenced(members, role, methods)
    if not found:
        ours = [each for each in methods if _curve_of(each) in _MULTICODECS]
        found = ours[position : position + 1]
    for method in found:
        if _curve_of(method) == curve:
            return _public_key(method, curve)
    raise RemoteProtocolError(ErrorCode.MALFORMED, f"{role} names no {curve} key")


def _referenced(
    members: JsonObject, role: str, methods: list[JsonObject]
) -> list[JsonObject]:
    """The verification methods that `role` refers to or embeds, in its order."""
    references = members.get(role)
    if not isinstance(references, list):
        # Some documents write a single reference without a list.
        references = [] if references is None else [references]
    base = document_id(members)
    by_id: dict[str, JsonObject] = {}
    for method in methods:
        by_id.setdefault(_absolute(method.get("id"), base), method)
    found: list[JsonObject] = []
    for reference in references:
        if isinstance(reference, dict):
            found.append(reference)
        elif isinstance(reference, str) and _absolute(reference, base) in by_id:
            found.append(by_id[_absolute(reference, base)])
    return found


def _absolute(reference: JsonValue, base: str) -> str:
    """DID Core, 3.2.2: `#key` is relative to the document's id.

    The did:web method escapes the colon of a port, released clients do not.
    """
    text = reference if isinstance(reference, str) else ""
    url = base + text if text.startswith("#") else text
    return url.replace("%3A", ":").replace("%3a", ":")


def _curve_of(method: JsonObject) -> str:
    jwk = method.get("publicKeyJwk")
    if isinstance(jwk, dict):
        curve = jwk.get("crv")
        return curve if isinstance(curve, str) else ""
    multibase = method.get("publicKeyMultibase")
    for name, prefix in _MULTICODECS.items():
        # Every key of a curve begins with the same four characters (did:key, 3.1).
        if (
            isinstance(multibase, str)
            and multibase[:4] == encode_multikey(bytes(32), prefix)[:4]
        ):
            return name
    return ""


def _public_key(method: JsonObject, curve: str) -> bytes:
    jwk = method.get("publicKeyJwk")
    if not isinstance(jwk, dict):
        multibase = method.get("publicKeyMultibase")
        try:
            return decode_multikey(str(multibase), _MULTICODECS[curve])
        except RemoteProtocolError:
            raise malformed("publicKeyMultibase") from None
    text = jwk.get("x")
    if not isinstance(text, str):
        raise malformed("publicKeyJwk")
    try:
        # One server of 2024 pads `x`; all clients tolerate it.
        key = decode_base64url(text.rstrip("="))
    except RemoteProtocolError:
        raise malformed("publicKeyJwk") from None
    if len(key) != 32:
        raise malformed("publicKeyJwk")
    return key
