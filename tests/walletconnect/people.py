"""Alice with two devices (W1, Wx), Bob who has an account too, and a dapp. Fixed keys."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from tests.cacaos import identity_payload
from walletconnect.crypto.ethereum import address_of, sign_eip191
from walletconnect.crypto.keys import KeyPair
from walletconnect.crypto.signing import IdentityKey
from walletconnect.identity.cacao import Cacao, CacaoPayload, build_message
from walletconnect.identity.did import AccountId, AppUrl, DidWebDocument
from walletconnect.notify.parties import DappIdentity, WalletIdentity
from walletconnect.notify.scope import NotificationType, ScopeMap
from walletconnect.notify.values import Metadata

NOW = 1_700_000_000
KEYS_SERVER = "https://keys.example.org"


def secret(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def iv(name: str = "iv") -> bytes:
    return secret(name)[:12]


class Wallet:
    """One device of one account."""

    def __init__(self, person: str, device: str) -> None:
        self.private_key = secret(person)
        self.account = AccountId("eip155", "1", address_of(self.private_key))
        self.identity_key = IdentityKey.from_seed(secret(f"{person} {device}"))
        self.identity = WalletIdentity(self.account, self.identity_key, KEYS_SERVER)
        payload = identity_payload(
            self.account,
            identity_key=self.identity_key.did,
            keys_server_url=KEYS_SERVER,
            nonce="00" * 32,
            now=NOW - 1000,
        )
        self.cacao = self.sign(payload)

    def sign(self, payload: CacaoPayload) -> Cacao:
        signature = sign_eip191(build_message(payload), self.private_key)
        return Cacao.signed(payload, signature)

    def allowing(self, statement: str, domain: str = "dapp.example.org") -> Cacao:
        """The CACAO of a v1 wallet, whose statement is a permission."""
        made = replace(self.cacao.payload, statement=statement, domain=domain)
        return self.sign(made)


class Dapp:
    def __init__(self, name: str, url: str) -> None:
        self.key_pair_x = KeyPair.from_private(secret(f"{name} X"))
        self.key = IdentityKey.from_seed(secret(f"{name} authentication"))
        self.url = AppUrl.parse(url)
        self.identity = DappIdentity(
            self.url, self.key, self.key_pair_x, frozenset({KEYS_SERVER})
        )
        self.document = DidWebDocument(
            self.url.did, self.key_pair_x.public_key, self.key.public_key
        )
        self.types = (
            NotificationType("promotional", "New features"),
            NotificationType("alerts", "Urgent"),
            NotificationType("gm_hourly", "gm"),
        )
        self.scope = ScopeMap.of_types(self.types)
        self.metadata = Metadata(name, f"The dapp {name}", url, ())


W1 = Wallet("alice", "W1")
WX = Wallet("alice", "Wx")
BOB = Wallet("bob", "phone")
DAPP = Dapp("dapp", "https://dapp.example.org")
OTHER_DAPP = Dapp("other", "https://other.example.org")
KEY_PAIR_Y = KeyPair.from_private(secret("Y"))
KEY_PAIR_Z = KeyPair.from_private(secret("Z"))
