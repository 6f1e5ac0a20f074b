"""Secrets that leave this server: sealed with a key that is derived from a passphrase.

Scrypt (RFC 7914) and AES-256-GCM. The parameters are written beside the ciphertext for
readers in other languages. They are fixed here: values of a file would let its author
choose how much memory the derivation takes.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from common import entropy
from keychain.keyring import KEY_LENGTH, NONCE_LENGTH, TAG_LENGTH, KeychainError
from walletconnect.crypto.base64url import decode_base64url, encode_base64url
from walletconnect.errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from walletconnect.json_values import JsonObject, JsonValue

# OWASP's parameters for 32 MiB: a worker derives several keys at once.
COST: Final = {"n": 2**15, "r": 8, "p": 3}
SALT_LENGTH: Final = 16
MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 1024


class WeakPassphrase(KeychainError, ValueError):
    """Too short to seal with, or longer than any person's."""

    def __init__(self) -> None:
        super().__init__(f"a passphrase has {MIN_LENGTH} to {MAX_LENGTH} characters")


class WrongPassphrase(KeychainError):
    """The passphrase is another one, or the sealed part was changed."""

    def __init__(self) -> None:
        super().__init__("the passphrase does not open the sealed part")


class NotSealed(KeychainError):
    """Not what ``seal_with_passphrase`` returns."""

    def __init__(self) -> None:
        super().__init__(
            "the sealed part has no scrypt parameters, salt, nonce and ciphertext "
            "of this version"
        )


def seal_with_passphrase(
    passphrase: str, plaintext: bytes, associated: bytes
) -> JsonObject:
    """Encrypts ``plaintext`` under the passphrase. Raises ``WeakPassphrase``."""
    if not MIN_LENGTH <= len(passphrase) <= MAX_LENGTH:
        raise WeakPassphrase
    salt, nonce = entropy.key_bytes()[:SALT_LENGTH], entropy.iv()
    ciphertext = _cipher(passphrase, salt).encrypt(nonce, plaintext, associated)
    return {
        "kdf": "scrypt",
        **COST,
        "salt": encode_base64url(salt),
        "nonce": encode_base64url(nonce),
        "ciphertext": encode_base64url(ciphertext),
    }


def check_sealed(value: Mapping[str, JsonValue]) -> tuple[bytes, bytes, bytes]:
    """Salt, nonce and ciphertext; raises ``NotSealed``. Derives nothing."""
    try:
        salt, nonce, ciphertext = (
            decode_base64url(str(value[name]))
            for name in ("salt", "nonce", "ciphertext")
        )
    except (KeyError, RemoteProtocolError):
        raise NotSealed from None
    ours = {"kdf": "scrypt", **COST}
    is_ours = {name: value.get(name) for name in ours} == ours
    lengths = len(salt), len(nonce)
    if not is_ours or lengths != (SALT_LENGTH, NONCE_LENGTH):
        raise NotSealed
    if len(ciphertext) < TAG_LENGTH:
        raise NotSealed
    return salt, nonce, ciphertext


def open_with_passphrase(
    passphrase: str, value: Mapping[str, JsonValue], associated: bytes
) -> bytes:
    """The plaintext. Raises ``NotSealed`` or ``WrongPassphrase``."""
    salt, nonce, ciphertext = check_sealed(value)
    if len(passphrase) > MAX_LENGTH:
        raise WrongPassphrase
    try:
        return _cipher(passphrase, salt).decrypt(nonce, ciphertext, associated)
    except InvalidTag:
        raise WrongPassphrase from None


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    # One passphrase typed on two systems may differ in its composition of accents.
    text = unicodedata.normalize("NFKC", passphrase)
    derived = Scrypt(salt=salt, length=KEY_LENGTH, **COST)
    return AESGCM(derived.derive(text.encode("utf-8", "surrogatepass")))
