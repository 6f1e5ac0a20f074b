"""did:key, did:pkh, did:web, and the CAIP-10 account id.

Spec: CAIP-10, did:key and did:web methods; protocol.md, sections 1 and 5.4.

Everything in this protocol uses did:key with the Ed25519 prefix, also where the key is in
truth an X25519 key (`responseAuth.sub`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from walletconnect.crypto.ethereum import checksum_address, is_address
from walletconnect.crypto.multikey import ED25519, decode_multikey, encode_multikey
from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import malformed

DID_KEY: Final = "did:key:"
DID_PKH: Final = "did:pkh:"
DID_WEB: Final = "did:web:"

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

    Two spellings of one `eip155` address are unequal values; compare with `same_as`, and
    index by `key`.
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
        return self.namespace == "eip155" and is_address(self.address)

    @property
    def key(self) -> str:
        """One text for every spelling of the account: `eip155` in lower case."""
        return str(self).lower() if self.is_ethereum else str(self)

    @property
    def checksummed(self) -> AccountId:
        """The spelling to show: EIP-55 for `eip155`, as given elsewhere."""
        if not self.is_ethereum:
            return self
        address = checksum_address(self.address)
        return AccountId(self.namespace, self.reference, address)

    def same_as(self, other: AccountId) -> bool:
        return self.key == other.key


def did_pkh(account: AccountId) -> str:
    return account.did


def account_of(did: object) -> AccountId:
    """The account that a did:pkh names."""
    if not isinstance(did, str) or not did.startswith(DID_PKH):
        raise malformed("did:pkh")
    return AccountId.parse(did[len(DID_PKH) :])
