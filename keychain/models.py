"""Sealed secrets at rest. Imported by ``keychain`` and nowhere else.

``sealed`` is made by ``keychain.keyring``: key id, nonce, AES-256-GCM ciphertext. The row's
identity (table, holder, name, account) is authenticated: a row that is moved, renamed or
assigned to another account does not open.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from accounts.models import Account
from keychain.keyring import Context


class Holder(models.TextChoices):
    """The owner of a secret. Wallet and dapp side store the same P in two rows."""

    WALLET = "wallet"
    CAST = "cast"
    RELAY = "relay"
    IDENTITY = "identity"
    # Push subscriptions, forwards, and the key that push services know us by.
    ALERTS = "alerts"
    # The keychain's own: the canaries, the key of the token digests.
    SYSTEM = "system"


class SealedEntry(models.Model):
    """Base of all kinds of secrets."""

    holder = models.CharField(max_length=16, choices=Holder.choices)
    account = models.ForeignKey(
        Account, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    sealed = models.BinaryField()
    # Also at the front of ``sealed``; in a column so that a rotation finds its rows.
    sealing_key_id = models.CharField(max_length=32, db_index=True)
    created_at = models.DateTimeField()

    class Meta:
        abstract = True

    @property
    def name_in_holder(self) -> str:
        """The lookup name, unique within the holder."""
        raise NotImplementedError

    @property
    def context(self) -> Context:
        return self.place(self.holder, self.name_in_holder, self.account_id)

    @classmethod
    def place(cls, holder: str, name: str, account_id: int | None) -> Context:
        account = "" if account_id is None else str(account_id)
        return Context(cls._meta.db_table, "sealed", f"{holder}:{name}", account)


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

    @property
    def name_in_holder(self) -> str:
        return self.topic


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

    @property
    def name_in_holder(self) -> str:
        return self.topic


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

    @property
    def name_in_holder(self) -> str:
        return self.did


class SecretEntry(SealedEntry):
    """Any other secret (webhook secret, canary), found by its name."""

    name = models.CharField(max_length=128)
    revision = models.PositiveIntegerField(default=1)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["holder", "name"], name="secret_name_is_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.holder} secret {self.name}"

    @property
    def name_in_holder(self) -> str:
        # With the revision: an older sealed value put back into the row does not open.
        return f"{self.name}:{self.revision}"
