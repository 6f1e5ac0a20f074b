"""What a passphrase seals can be opened by any program with the documented parameters."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keychain.passphrase import (
    WrongPassphrase,
    open_with_passphrase,
    seal_with_passphrase,
)
from walletconnect.crypto.base64url import decode_base64url

PASSPHRASE = "correct horse battery"


def test_the_parameters_are_those_of_the_documentation():
    sealed = seal_with_passphrase(PASSPHRASE, b"secret", b"bound")
    assert open_with_passphrase(PASSPHRASE, sealed, b"bound") == b"secret"
    with pytest.raises(WrongPassphrase):
        open_with_passphrase(f"{PASSPHRASE}!", sealed, b"bound")
    salt, nonce, ciphertext = (
        decode_base64url(sealed.pop(name)) for name in ("salt", "nonce", "ciphertext")
    )
    # docs/export.md
    assert sealed == {"kdf": "scrypt", "n": 32768, "r": 8, "p": 3}
    key = hashlib.scrypt(
        PASSPHRASE.encode(), salt=salt, n=32768, r=8, p=3, dklen=32, maxmem=2**26
    )
    assert AESGCM(key).decrypt(nonce, ciphertext, b"bound") == b"secret"
