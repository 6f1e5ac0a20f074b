"""Alice with two browsers and a dapp that sends to her, as in the tests of pages."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from alerts.services.webpush import save_subscription
from tests.castserver.receiver import Receiver
from tests.dashboard.conftest import (  # noqa: F401  # fixtures
    alice,
    charlie,
    dapp,
    notify,
    open_keychain,
    stranger,
    subscription,
)
from walletconnect.crypto.base64url import encode_base64url


@pytest.fixture(autouse=True)
def loopback_is_allowed(settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.1", "localhost"]


@pytest.fixture
def receiver():
    with Receiver() as found:
        yield found


@dataclass
class PushingBrowser:
    """A browser's push manager: its keys, and what it decrypts (RFC 8291)."""

    endpoint: str
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    auth: bytes = b"0123456789abcdef"

    @property
    def subscription(self) -> dict:
        point = self.key.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
        keys = {"p256dh": encode_base64url(point), "auth": encode_base64url(self.auth)}
        return {"endpoint": self.endpoint, "expirationTime": None, "keys": keys}

    def read(self, body: bytes) -> dict:
        return json.loads(
            http_ece.decrypt(
                body, private_key=self.key, auth_secret=self.auth, version="aes128gcm"
            )
        )


@pytest.fixture
def firefox(alice, receiver):  # noqa: F811
    """Alice's first browser, subscribed to a push service on this machine."""
    browser = PushingBrowser(receiver.url)
    save_subscription(alice.device, browser.subscription)
    return browser


def claims_of(authorization: str) -> tuple[dict, bytes]:
    """The claims of a ``vapid`` header, verified, and the public key."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    token, _, key = authorization.removeprefix("vapid t=").partition(",k=")
    head, body, signature = token.split(".")

    def decode(text):
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    raw, point = decode(signature), decode(key)
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point).verify(
        encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:])),
        f"{head}.{body}".encode(),
        ec.ECDSA(hashes.SHA256()),
    )
    return json.loads(decode(body)), point
