"""Every secret at rest: stored, read, deleted. Nothing else in the project opens one.

Each holder (wallet side, dapp side, relay client, identity keys) has secrets of its own;
the two sides of the protocol store the same key P in two rows. Functions that take many
names run one query. A row that does not open is left out (functions for a single secret
raise), logged and audited; other rows are not affected.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final

from django.db import connection, transaction

from common import clock
from keychain.canary import check_canary, ensure_canary, token_digest_key
from keychain.columns import (
    SealedColumn,
    open_sealed,
    register_sealed_column,
    seal,
)
from keychain.keyring import (
    Context,
    DecryptionFailed,
    KeychainError,
    KeyringError,
    SecretNotFound,
    keyring,
)
from keychain.models import (
    Holder,
    KeyPairEntry,
    SecretEntry,
    SigningKeyEntry,
    SymKeyEntry,
)
from keychain.rows import (
    insert,
    opened,
    opened_values,
    report,
    seal_into,
    verify_name,
)
from walletconnect.crypto.keys import KeyPair, SymKey, Topic
from walletconnect.crypto.signing import IdentityKey

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = [
    "Context",
    "DecryptionFailed",
    "Holder",
    "KeychainError",
    "KeyringError",
    "SealedColumn",
    "SecretNotFound",
    "check_canary",
    "ensure_canary",
    "forget",
    "give_signing_key",
    "key_pairs",
    "open_sealed",
    "put_key_pair",
    "put_key_pairs",
    "put_secret",
    "put_signing_key",
    "put_sym_keys",
    "register_sealed_column",
    "seal",
    "secret",
    "signing_key",
    "signing_keys",
    "sym_keys",
    "token_digest",
]

_TOPIC = re.compile(r"[0-9a-f]{64}")


# --- symmetric keys and key pairs, by topic -------------------------------------------


def put_sym_keys(
    holder: Holder, keys: Iterable[SymKey], *, account_id: int | None = None
) -> None:
    """Store symmetric keys by topic; existing ones stay."""
    entries = [
        SymKeyEntry(holder=holder, account_id=account_id, topic=key.topic)
        for key in keys
    ]
    insert(SymKeyEntry, entries, [key.raw for key in keys])


# The topics are one array: a thousand placeholders would cost a quarter of the time that
# opening the keys takes.
_SYM_KEYS: Final = """
SELECT id, topic, account_id, sealed FROM keychain_symkeyentry
WHERE holder = %s AND topic = ANY(%s)
"""


def sym_keys(holder: Holder, topics: Collection[str]) -> dict[Topic, SymKey]:
    """The stored keys of ``topics``; missing and damaged ones are left out."""
    if not topics:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_SYM_KEYS, [Holder(holder).value, list(topics)])
        rows = cursor.fetchall()
    found = {}
    for pk, topic, raw in opened_values(SymKeyEntry, holder, rows):
        key = SymKey(raw)
        if key.topic == topic or verify_name(
            SymKeyEntry(pk=pk, topic=topic), key.topic
        ):
            found[key.topic] = key
    return found


def put_key_pair(
    holder: Holder, key_pair: KeyPair, *, account_id: int | None = None
) -> Topic:
    """Store an X25519 key pair; returns the topic of its public key."""
    put_key_pairs(holder, [key_pair], account_id=account_id)
    return key_pair.topic


def put_key_pairs(
    holder: Holder, pairs: Iterable[KeyPair], *, account_id: int | None = None
) -> None:
    entries = [
        KeyPairEntry(
            holder=holder,
            account_id=account_id,
            topic=pair.topic,
            public_key=pair.public_key.hex(),
        )
        for pair in pairs
    ]
    insert(KeyPairEntry, entries, [pair.private_key for pair in pairs])


def key_pairs(holder: Holder, topics: Collection[str]) -> dict[Topic, KeyPair]:
    """The stored pairs of ``topics``, the topics of their public keys."""
    rows = KeyPairEntry.objects.filter(holder=holder, topic__in=topics)
    found = {}
    for row, raw in opened(rows):
        pair = KeyPair.from_private(raw)
        if verify_name(row, pair.topic):
            found[pair.topic] = pair
    return found


# --- signing keys, by did:key ---------------------------------------------------------


def put_signing_key(
    holder: Holder, key: IdentityKey, *, account_id: int | None = None
) -> str:
    """Store an Ed25519 key; returns its did:key."""
    entry = SigningKeyEntry(holder=holder, account_id=account_id, did=key.did)
    insert(SigningKeyEntry, [entry], [key.seed])
    return key.did


def signing_key(holder: Holder, did: str) -> IdentityKey:
    found = signing_keys(holder, [did])
    if did not in found:
        raise SecretNotFound(f"{holder} has no signing key {did}")
    return found[did]


_SIGNING_KEYS: Final = """
SELECT id, did, account_id, sealed FROM keychain_signingkeyentry
WHERE holder = %s AND did = ANY(%s)
"""


def signing_keys(holder: Holder, dids: Collection[str]) -> dict[str, IdentityKey]:
    with connection.cursor() as cursor:
        cursor.execute(_SIGNING_KEYS, [Holder(holder).value, list(dids)])
        rows = cursor.fetchall()
    found = {}
    for pk, did, raw in opened_values(SigningKeyEntry, holder, rows):
        key = IdentityKey.from_seed(raw)
        if key.did == did or verify_name(SigningKeyEntry(pk=pk, did=did), key.did):
            found[key.did] = key
    return found


def give_signing_key(holder: Holder, did: str, *, account_id: int) -> None:
    """Assign a key that was created before its account to the account."""
    with transaction.atomic():
        row = (
            SigningKeyEntry.objects.select_for_update()
            .filter(holder=holder, did=did)
            .first()
        )
        if row is None:
            raise SecretNotFound(f"{holder} has no signing key {did}")
        seed = keyring().open(row.context, row.sealed)
        row.account_id = account_id
        seal_into(row, seed)
        row.save(update_fields=["account", "sealed", "sealing_key_id"])


# --- other secrets, by name -----------------------------------------------------------


def put_secret(
    holder: Holder, name: str, value: bytes, *, account_id: int | None = None
) -> None:
    """Store ``value`` under ``name``, replacing an earlier value."""
    if _TOPIC.fullmatch(name) or name.startswith("did:"):
        raise ValueError("that name belongs to a key")
    with transaction.atomic():
        row = SecretEntry(
            holder=holder, name=name, account_id=account_id, created_at=clock.now()
        )
        seal_into(row, value)
        # Insert first, then lock: two writers of a new name would otherwise both insert.
        SecretEntry.objects.bulk_create([row], ignore_conflicts=True)
        kept = SecretEntry.objects.select_for_update().get(holder=holder, name=name)
        if bytes(kept.sealed) != row.sealed:
            kept.revision += 1
            kept.account_id = account_id
            seal_into(kept, value)
            kept.save()


def secret(holder: Holder, name: str) -> bytes:
    row = SecretEntry.objects.filter(holder=holder, name=name).first()
    if row is None:
        raise SecretNotFound(f"{holder} has no secret {name}")
    try:
        return keyring().open(row.context, row.sealed)
    except DecryptionFailed:
        report(row, "does not open")
        raise


def forget(holder: Holder, names: Collection[str]) -> None:
    """Delete secrets of any kind: by topic, did:key or name. Missing ones are ignored."""
    dids = [name for name in names if name.startswith("did:")]
    topics = [name for name in names if _TOPIC.fullmatch(name)]
    others = set(names) - set(dids) - set(topics)
    if topics:
        SymKeyEntry.objects.filter(holder=holder, topic__in=topics).delete()
        KeyPairEntry.objects.filter(holder=holder, topic__in=topics).delete()
    if dids:
        SigningKeyEntry.objects.filter(holder=holder, did__in=dids).delete()
    if others:
        SecretEntry.objects.filter(holder=holder, name__in=others).delete()


# --- digests of API tokens ------------------------------------------------------------


def token_digest(token: str) -> str:
    """A keyed hash to look an API token up by; the token itself is never stored."""
    return hmac.digest(token_digest_key(), token.encode(), hashlib.sha256).hex()
