"""Sealing of Web Push messages (RFC 8291), and the key that push services know us by (RFC 8292)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.db import connection, transaction
from py_vapid import Vapid02

from common import clock
from keychain.services import Holder, SecretNotFound, put_secret, secret
from walletconnect.crypto.base64url import decode_base64url, encode_base64url
from walletconnect.errors import RemoteProtocolError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

NAME: Final = "vapid"
KEY_BYTES: Final = 32
# The standard allows 24 hours; some services refuse a token near that.
TOKEN_LIFETIME_S: Final = 12 * 3600


POINT_BYTES: Final = 65
AUTH_BYTES: Final = 16


def read_push_keys(p256dh: str, auth: str) -> tuple[bytes, bytes]:
    """The browser's public key and ``auth`` secret. Raises ``ValueError``."""
    try:
        public_key, secret_bytes = decode_base64url(p256dh), decode_base64url(auth)
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
    except (RemoteProtocolError, ValueError):
        raise ValueError("p256dh is not a P-256 public key in base64url") from None
    if len(public_key) != POINT_BYTES or len(secret_bytes) != AUTH_BYTES:
        raise ValueError("p256dh has 65 bytes, auth has 16")
    return public_key, secret_bytes


def seal_push(payload: bytes, public_key: bytes, auth: bytes) -> bytes:
    """``payload`` for the browser alone, in one record of ``aes128gcm``."""
    sealed: bytes = http_ece.encrypt(
        payload,
        private_key=ec.generate_private_key(ec.SECP256R1()),
        dh=public_key,
        auth_secret=auth,
        version="aes128gcm",
    )
    return sealed


def application_server_key() -> str:
    """The public key as ``PushManager.subscribe`` takes it: base64url of the point."""
    public = _vapid_key().public_key()
    return encode_base64url(
        public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    )


def has_application_server_key() -> bool:
    """Whether the key was made. Raises ``DecryptionFailed`` if it does not open."""
    try:
        secret(Holder.ALERTS, NAME)
    except SecretNotFound:
        return False
    return True


def vapid_authorization(endpoint: str, contact: str) -> str:
    """The ``Authorization`` header for a message to ``endpoint``.

    ``contact`` is whom the push service may ask: an https or mailto URL.
    """
    parts = urlsplit(endpoint)
    claims = {
        "aud": f"{parts.scheme}://{parts.netloc}",
        "exp": clock.now_s() + TOKEN_LIFETIME_S,
        "sub": contact,
    }
    header: str = Vapid02(_vapid_key()).sign(claims)["Authorization"]
    return header


def _vapid_key() -> EllipticCurvePrivateKey:
    """Made at its first use. Browsers that subscribed are bound to it for good."""
    try:
        scalar = secret(Holder.ALERTS, NAME)
    except SecretNotFound:
        scalar = _create()
    return ec.derive_private_key(int.from_bytes(scalar), ec.SECP256R1())


def _create() -> bytes:
    with transaction.atomic():
        # Two processes that ask first would make two keys, and one would be lost.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('vapid key'))")
        try:
            return secret(Holder.ALERTS, NAME)
        except SecretNotFound:
            number = ec.generate_private_key(ec.SECP256R1()).private_numbers()
            scalar = number.private_value.to_bytes(KEY_BYTES)
            put_secret(Holder.ALERTS, NAME, scalar)
            return scalar
