"""The canaries: proof that ``KEYCHAIN_KEYS`` is the keyring this database was sealed with.

reliability.md, item 18 and fault F43. For every key that ever sealed something here one
known text is sealed. A process that cannot open all of them must not start: it would
write under a key that the other processes do not have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common import clock, entropy
from keychain.keyring import DecryptionFailed, KeyringError, keyring
from keychain.models import (
    Holder,
    KeyPairEntry,
    SecretEntry,
    SigningKeyEntry,
    SymKeyEntry,
)
from keychain.rows import seal_into

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from keychain.models import SealedEntry

ENTRY_MODELS: Final = (SymKeyEntry, KeyPairEntry, SigningKeyEntry, SecretEntry)
CANARY: Final = "canary:"
CANARY_PLAINTEXT: Final = b"this keychain opens"
TOKEN_DIGEST_KEY: Final = "token digest key"  # noqa: S105 - its name, not the key


def check_canary() -> None:
    """Raise ``KeyringError`` unless every key that sealed something is here and right.

    Reads one row per key and writes nothing; for process start and ``/readyz``.
    """
    ring = keyring()
    heard = list(canaries())
    if ring.first.id not in {canary.sealing_key_id for canary in heard}:
        raise KeyringError(
            f"The keychain has no canary for key {ring.first.id} yet; run "
            "manage.py migrate, which seals one."
        )
    for canary in heard:
        _hear(canary)


def ensure_canary() -> None:
    """Seal a canary for a first key that has none, if all others open. After migrate."""
    ring = keyring()
    heard = list(canaries())
    for canary in heard or _a_sample():
        _hear(canary)
    _put_once(CANARY + ring.first.id, CANARY_PLAINTEXT)
    token_digest_key()


def delete_canaries_except(key_id: str) -> None:
    """After a rotation: the replaced keys may now be taken out of ``KEYCHAIN_KEYS``."""
    canaries().exclude(name=CANARY + key_id).delete()


def token_digest_key() -> bytes:
    """The key of ``services.token_digest``. Sealed like all others, made only once."""
    named = SecretEntry.objects.filter(holder=Holder.SYSTEM, name=TOKEN_DIGEST_KEY)
    row = named.first()
    if row is None:
        _put_once(TOKEN_DIGEST_KEY, entropy.key_bytes())
        row = named.get()
    return keyring().open(row.context, row.sealed)


def canaries() -> QuerySet[SecretEntry]:
    return SecretEntry.objects.filter(
        holder=Holder.SYSTEM, name__startswith=CANARY
    ).order_by("name")


def _a_sample() -> list[SealedEntry]:
    # Secrets without a canary: somebody removed it. A key that does not open them
    # must not be declared right.
    newest = (model._default_manager.order_by("-pk").first() for model in ENTRY_MODELS)
    return [row for row in newest if row is not None]


def _hear(row: SealedEntry) -> None:
    ring = keyring()
    try:
        ring.open(row.context, row.sealed)
    except DecryptionFailed:
        raise KeyringError(
            f"The keychain was sealed by key {row.sealing_key_id}, which KEYCHAIN_KEYS "
            f"does not hold (it holds {', '.join(ring.ids)}) or holds changed; put it "
            "back. Nothing was written."
        ) from None


def _put_once(name: str, value: bytes) -> None:
    row = SecretEntry(holder=Holder.SYSTEM, name=name, created_at=clock.now())
    seal_into(row, value)
    SecretEntry.objects.bulk_create([row], ignore_conflicts=True)
