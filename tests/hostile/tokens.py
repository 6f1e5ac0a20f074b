"""Requests with arbitrary tokens on the topics of valid requests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings

from common import clock, entropy
from tests.castserver.world import Wallet, document_of
from walletconnect.crypto.base64url import decode_base64url, encode_base64url
from walletconnect.crypto.envelope import Envelope, seal
from walletconnect.crypto.keys import KeyPair, SymKey, derive_sym_key
from walletconnect.crypto.signing import IdentityKey
from walletconnect.notify.methods import DELETE, SUBSCRIBE, UPDATE
from walletconnect.relay.messages import Publication

ACTS = {
    SUBSCRIBE: "notify_subscription",
    UPDATE: "notify_update",
    DELETE: "notify_delete",
}
HEADER = {"alg": "EdDSA", "typ": "JWT"}
# The group order of Ed25519: S and S + ORDER are the same signature.
ORDER = 2**252 + 27742317777372353535851937790883648493

STRANGER = IdentityKey.from_seed(b"s" * 32)
HOUR = 3600
MONTH = 30 * 24 * HOUR

# Errors of the token verifier, the same for every caller.
FORGED = "unauthentic: signature does not fit"
FUTURE = "clock: did-jwt is from the future: check the clock"
TOO_LONG = "malformed: did-jwt lives too long"
NO_JWT = "malformed: malformed did-jwt"


def wrong(claim):
    return f"mismatch: claim {claim} does not fit"


def malformed(what):
    return f"malformed: malformed {what}"


def encoded(value: object) -> str:
    return encode_base64url(json.dumps(value).encode())


@dataclass
class Forgery:
    """A request of ``wallet`` to ``project``, valid unless changed."""

    project: Any
    wallet: Wallet
    method: Any = SUBSCRIBE
    sym_key: SymKey | None = None
    request_id: object = field(default_factory=clock.payload_id)
    key_pair_y: KeyPair = field(
        default_factory=lambda: KeyPair.from_private(entropy.key_bytes())
    )

    def claims(self, **changes: object) -> dict[str, object]:
        """As the first-generation client writes them; None removes a claim."""
        now = clock.now_s()
        claims: dict[str, object] = {
            "iat": now,
            "exp": now + 30,
            "iss": self.wallet.key.did,
            "ksu": settings.KEYS_SERVER_URL,
            "aud": self.project.authentication_did,
            "sub": self.wallet.account.did,
            "act": ACTS[self.method],
            "app": self.project.url,
        }
        if self.method is not DELETE:
            claims["scp"] = "alerts news"
        made = claims | changes
        return {name: value for name, value in made.items() if value is not None}

    def token(
        self,
        *,
        header: object = HEADER,
        signer: Any = None,
        claims: object = None,
        **changes: object,
    ) -> str:
        chosen = self.claims(**changes) if claims is None else claims
        signed = f"{encoded(header)}.{encoded(chosen)}"
        signature = (signer or self.wallet.key).sign(signed.encode())
        return f"{signed}.{encode_base64url(signature)}"

    def publication(self, token: object, **members: object) -> Publication:
        request = {
            "id": self.request_id,
            "jsonrpc": "2.0",
            "method": self.method.name,
            "params": {self.method.param: token},
        } | members
        sender = None if self.sym_key else self.key_pair_y.public_key
        key = self.answer_key
        return Publication(
            topic=self.project.subscribe_topic if sender else key.topic,
            message=seal(json.dumps(request), key, iv=entropy.iv(), sender=sender),
            tag=self.method.tag,
            ttl=30,
        )

    @property
    def answer_key(self) -> SymKey:
        """The key of the response: S for a subscribe, P for the others."""
        document = document_of(self.project)
        return self.sym_key or derive_sym_key(self.key_pair_y, document.key_agreement)


def sealed_again(publication: Publication, sym_key: SymKey) -> Publication:
    """The same request in another envelope, so with other bytes."""
    envelope = Envelope.decode(publication.message)
    text = seal(
        envelope.open(sym_key),
        sym_key,
        iv=entropy.iv(),
        sender=envelope.sender_public_key,
    )
    return replace(publication, message=text)


def with_unreduced_s(token: str) -> str:
    """Another encoding of the same signature, which lenient verifiers accept."""
    head, _, text = token.rpartition(".")
    signature = decode_base64url(text)
    s = int.from_bytes(signature[32:], "little") + ORDER
    return f"{head}.{encode_base64url(signature[:32] + s.to_bytes(32, 'little'))}"
