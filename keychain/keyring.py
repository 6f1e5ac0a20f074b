"""The keys that seal everything else: ``KEYCHAIN_KEYS``, and AES-256-GCM under them.

The setting is a list of ``id:base64`` texts; the first key seals, all keys open, so that a
key can be replaced online. Keys are never stored in the database or its backups.

    sealed = length of the key id (1) | key id | nonce (12) | ciphertext | tag (16)

The associated data are the key id, table, column, row and account: a sealed value that is
copied to another place, or whose key id is changed, does not open.
"""

from __future__ import annotations

import base64
import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from common import entropy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEY_LENGTH: Final = 32
NONCE_LENGTH: Final = 12
TAG_LENGTH: Final = 16

_DOMAIN: Final = "notifyweb keychain 1"
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")


class KeychainError(Exception):
    """Base of what can go wrong with secrets at rest."""


class KeyringError(KeychainError):
    """``KEYCHAIN_KEYS`` is wrong, so nothing can be opened or sealed; ``str`` is the remedy."""


class DecryptionFailed(KeychainError):
    """A sealed value does not open: moved, cut, changed, or its key is missing."""


class SecretNotFound(KeychainError, KeyError):
    """The holder has no secret of that name."""

    def __str__(self) -> str:
        return str(self.args[0])


class Context(NamedTuple):
    """The place of a sealed value, authenticated with it: it opens at no other place."""

    table: str
    column: str
    row: str
    account: str = ""


@dataclass(frozen=True, slots=True)
class SealingKey:
    """One key of ``KEYCHAIN_KEYS``; ``repr`` shows its id only."""

    id: str
    _cipher: AESGCM = field(repr=False, compare=False)
    # The first bytes of everything that this key sealed.
    prefix: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", bytes([len(self.id)]) + self.id.encode())

    @classmethod
    def parse(cls, text: str) -> SealingKey:
        key_id, _, encoded = text.partition(":")
        if _KEY_ID.fullmatch(key_id) is None:
            raise KeyringError(
                "A key of KEYCHAIN_KEYS has no id; write id:base64, with an id of "
                "letters, digits, dots, dashes."
            )
        try:
            key = base64.b64decode(encoded, validate=True)
        except ValueError:
            key = b""
        if len(key) != KEY_LENGTH:
            raise KeyringError(
                f"Key {key_id} of KEYCHAIN_KEYS is not the base64 text of 32 bytes."
            )
        return cls(key_id, AESGCM(key))

    def seal(self, context: tuple[str, str, str, str], plaintext: bytes) -> bytes:
        # Random nonces are safe for 2^32 values per key (NIST SP 800-38D, 8.3).
        nonce = entropy.iv()
        associated = _associated_data(self.id, context)
        return self.prefix + nonce + self._cipher.encrypt(nonce, plaintext, associated)

    def open(self, context: tuple[str, str, str, str], sealed: bytes) -> bytes:
        start = len(self.prefix)
        nonce = sealed[start : start + NONCE_LENGTH]
        ciphertext = sealed[start + NONCE_LENGTH :]
        if len(ciphertext) < TAG_LENGTH:
            raise DecryptionFailed("a sealed value is cut short")
        associated = _associated_data(self.id, context)
        try:
            return self._cipher.decrypt(nonce, ciphertext, associated)
        except InvalidTag:
            raise DecryptionFailed(
                f"a value sealed by key {self.id} does not open"
            ) from None


@dataclass(frozen=True, slots=True)
class Keyring:
    """All keys: ``first`` seals, each of them opens."""

    first: SealingKey
    _by_id: Mapping[str, SealingKey] = field(repr=False)
    _by_prefix: Mapping[bytes, SealingKey] = field(repr=False)

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Keyring:
        keys = [SealingKey.parse(text) for text in texts]
        if not keys:
            raise KeyringError(
                "KEYCHAIN_KEYS is empty; without it no secret can be sealed or opened."
            )
        by_id = {key.id: key for key in keys}
        if len(by_id) != len(keys):
            raise KeyringError("KEYCHAIN_KEYS names two keys by one id.")
        return cls(keys[0], by_id, {key.prefix: key for key in keys})

    @property
    def ids(self) -> list[str]:
        return list(self._by_id)

    def seal(self, context: tuple[str, str, str, str], plaintext: bytes) -> bytes:
        return self.first.seal(context, plaintext)

    def open(
        self, context: tuple[str, str, str, str], sealed: bytes | memoryview
    ) -> bytes:
        sealed = bytes(sealed)  # the database driver hands out memoryviews
        key = self._by_prefix.get(sealed[: 1 + sealed[0]]) if sealed else None
        if key is None:
            key_id = key_id_of(sealed)
            raise DecryptionFailed(f"key {key_id} is not in KEYCHAIN_KEYS")
        return key.open(context, sealed)


def key_id_of(sealed: bytes) -> str:
    """The id of the key that sealed a value, from its first bytes."""
    length = sealed[0] if sealed else 0
    try:
        key_id = bytes(sealed[1 : 1 + length]).decode("ascii")
    except UnicodeDecodeError:
        key_id = ""
    if len(key_id) != length or _KEY_ID.fullmatch(key_id) is None:
        raise DecryptionFailed("a sealed value does not begin with a key id")
    return key_id


def keyring() -> Keyring:
    """The keyring of the settings; parsed once per value of the setting."""
    return _parsed(tuple(settings.KEYCHAIN_KEYS))


@functools.lru_cache(maxsize=4)
def _parsed(texts: tuple[str, ...]) -> Keyring:
    return Keyring.parse(texts)


def _associated_data(key_id: str, context: tuple[str, str, str, str]) -> bytes:
    table, column, row, account = context
    return _column_prefix(key_id, table, column) + _joined(row, account)


# A batch opens a thousand values of one column, and this part is the same for all.
@functools.lru_cache(maxsize=256)
def _column_prefix(key_id: str, table: str, column: str) -> bytes:
    return _joined(_DOMAIN, key_id, table, column)


def _joined(*parts: str) -> bytes:
    # Each part after its length, so that no two contexts give the same bytes.
    return b"".join(
        [len(encoded := part.encode()).to_bytes(4, "big") + encoded for part in parts]
    )
