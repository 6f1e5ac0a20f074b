"""Canaries: proof that ``KEYCHAIN_KEYS`` is the keyring that sealed this database.

For every key that ever sealed something here, a canary row seals one fixed text. A process
that cannot open all of them must not start: it would write under a key that the other
processes do not have.
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
    """Raise ``KeyringError`` unless every key that sealed something is present and right.

    Reads one row per key and writes nothing; for process start and ``/readyz``.
    """
    ring = keyring()
    found = list(canaries())
    if ring.first.id not in {canary.sealing_key_id for canary in found}:
        raise KeyringError(
            f"The keychain has no canary for key {ring.first.id} yet; run "
            "manage.py migrate, which seals one."
        )
    for canary in found:
        _require_open(canary)


def ensure_canary() -> None:
    """Seal a canary for a new first key, if all others open. Runs after migrate."""
    ring = keyring()
    rows: list[SealedEntry] = list(canaries())
    if not rows:
        # Secrets without a canary: it was deleted. A key that does not open the secrets
        # must not get a new one, so the newest of each kind is tried instead.
        newest = (
            each._default_manager.order_by("-pk").first() for each in ENTRY_MODELS
        )
        rows = [row for row in newest if row is not None]
    for row in rows:
        _require_open(row)
    _put_once(CANARY + ring.first.id, CANARY_PLAINTEXT)
    token_digest_key()


def delete_canaries_except(key_id: str) -> None:
    """After a rotation: the replaced keys may be removed from ``KEYCHAIN_KEYS`` now."""
    canaries().exclude(name=CANARY + key_id).delete()


def token_digest_key() -> bytes:
    """The key of ``services.token_digest``. Sealed like all others, created once."""
    named = SecretEntry.objects.filter(holder=Holder.SYSTEM, name=TOKEN_DIGEST_KEY)
    row = named.first()
    if row is None:
        _put_once(TOKEN_DIGEST_KEY, entropy.key_bytes())
        # Not necessarily ours: another process may have inserted it first.
        row = named.get()
    return keyring().open(row.context, row.sealed)


def canaries() -> QuerySet[SecretEntry]:
    return SecretEntry.objects.filter(
        holder=Holder.SYSTEM, name__startswith=CANARY
    ).order_by("name")


def _require_open(row: SealedEntry) -> None:
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
