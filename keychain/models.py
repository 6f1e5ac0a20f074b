"""Sealed secrets at rest. Imported by ``keychain`` and nowhere else.

``sealed`` is ``key id ‖ nonce ‖ AES-256-GCM ciphertext``; the row's identity (table, holder,
name, account) is the associated data, so that a row moved or renamed does not open.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from accounts.models import Account


class Holder(models.TextChoices):
    """Whose secret it is. The wallet and the dapp side hold the same P, each its own row."""

    WALLET = "wallet"
    CAST = "cast"
    RELAY = "relay"
    IDENTITY = "identity"


class SealedEntry(models.Model):
    """What all kinds of secrets share."""

    holder = models.CharField(max_length=16, choices=Holder.choices)
    account = models.ForeignKey(
        Account, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    sealed = models.BinaryField()
    sealing_key_id = models.CharField(max_length=32, db_index=True)
    created_at = models.DateTimeField()

    class Meta:
        abstract = True


class SymKeyEntry(SealedEntry):
    """A symmetric key (S, P, a store key), found by its topic."""

    topic = models.CharField(max_length=64)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["holder", "topic"], name="sym_key_topic_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.holder} symmetric key of topic {self.topic}"


class KeyPairEntry(SealedEntry):
    """An X25519 key pair (X, Y, Z), found by the topic of its public key."""

    topic = models.CharField(max_length=64)
    public_key = models.CharField(max_length=64)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["holder", "topic"], name="key_pair_topic_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.holder} key pair {self.public_key}"


class SigningKeyEntry(SealedEntry):
    """An Ed25519 key: identity, dapp authentication or relay client, found by its did:key."""

    did = models.CharField(max_length=64)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["holder", "did"], name="signing_key_did_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.holder} signing key {self.did}"


class SecretEntry(SealedEntry):
    """Any other secret (webhook secret, canary), found by its name."""

    name = models.CharField(max_length=128)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["holder", "name"], name="secret_name_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.holder} secret {self.name}"
