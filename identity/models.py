"""Identity keys: those on our Keys Server, those of our devices, those of others.

A CACAO is stored as the JSON text that was received, because others verify that text again.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from accounts.models import Account, Device
from common.work_queue import WorkItem, WorkQuerySet

DID_LENGTH = 64
ACCOUNT_LENGTH = 168
URL_LENGTH = 255


# --- the Keys Server ------------------------------------------------------------------


class IdentityRegistration(models.Model):
    """A registration on our Keys Server: a CACAO that binds an identity key to an account.

    The row of an unregistered key stays, without its CACAO: it cannot be registered again.
    """

    # The did:key without its "did:key:" prefix, as in the query of callers.
    public_key = models.CharField(max_length=DID_LENGTH, unique=True)
    account = models.CharField(max_length=ACCOUNT_LENGTH, db_index=True, blank=True)
    cacao = models.TextField(blank=True)
    registered_at = models.DateTimeField()
    unregistered_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.public_key} of {self.account or 'a removed account'}"


class InviteRegistration(models.Model):
    """The key under which an account takes chat invites; for clients of the Chat API."""

    # ``AccountId.key``: the same for every chain and letter case.
    account = models.CharField(max_length=ACCOUNT_LENGTH, unique=True)
    invite_key = models.CharField(max_length=DID_LENGTH, blank=True)
    # ``iat`` of the newest token: replaying an older one changes nothing.
    issued_at = models.BigIntegerField(help_text="seconds")

    def __str__(self) -> str:
        return f"invite key of {self.account}"


# --- the identity keys of our devices -------------------------------------------------


class IdentityKeyQuerySet(WorkQuerySet["IdentityKey"]):
    def active(self) -> IdentityKeyQuerySet:
        return self.filter(retired_at=None)

    def left_behind(self) -> IdentityKeyQuerySet:
        """Active ones of devices whose session has ended."""
        return self.active().filter(device__revoked_at__isnull=False)


class IdentityKey(WorkItem):
    """The identity key of one device for one account; its private part is in the keychain.

    The work is to register it at its Keys Server.
    """

    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, related_name="identity_keys"
    )
    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="identity_keys"
    )
    did = models.CharField(max_length=DID_LENGTH, unique=True)
    cacao = models.TextField()
    keys_server = models.CharField(max_length=URL_LENGTH)
    created_at = models.DateTimeField()
    registered_at = models.DateTimeField(null=True, blank=True)
    # From then on it signs nothing; an ``IdentityUnregistration`` unregisters it.
    retired_at = models.DateTimeField(null=True, blank=True)

    objects = IdentityKeyQuerySet.as_manager()  # type: ignore[misc]  # of a subclass

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["device", "account"],
                condition=models.Q(retired_at=None),
                name="one_identity_key_per_device_and_account",
            )
        ]
        indexes: ClassVar = WorkItem.Meta.indexes

    def __str__(self) -> str:
        return self.did


class IdentityUnregistration(WorkItem):
    """A key to unregister at its Keys Server, with the token, signed beforehand.

    It outlives the device, the account and the private key, and refers to none of them.
    """

    did = models.CharField(max_length=DID_LENGTH, unique=True)
    keys_server = models.CharField(max_length=URL_LENGTH)
    # Emptied when done.
    id_auth = models.TextField(blank=True)
    created_at = models.DateTimeField()
    done_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.did


# --- the identity keys of others ------------------------------------------------------


class KnownIdentity(WorkItem):
    """A CACAO that we fetched from another Keys Server and verified ourselves.

    The work is to ask the server, for the first time or again.
    """

    did = models.CharField(max_length=DID_LENGTH)
    keys_server = models.CharField(max_length=URL_LENGTH)
    # Empty: unknown at the server.
    cacao = models.TextField(blank=True)
    # Null: it has not answered yet.
    checked_at = models.DateTimeField(null=True, blank=True, db_index=True)

    class Meta:
        verbose_name_plural = "known identities"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["did", "keys_server"], name="known_identity_is_unique"
            )
        ]
        indexes: ClassVar = WorkItem.Meta.indexes

    def __str__(self) -> str:
        return self.did


# --- smart-contract wallets -----------------------------------------------------------


class ContractProof(WorkItem):
    """Whether a smart-contract wallet accepts a signature; the work is to ask its chain."""

    # Of ``question``: chain, address, hashes and signature.
    digest = models.CharField(max_length=64, unique=True)
    question = models.TextField()
    chain_id = models.BigIntegerField()
    address = models.CharField(max_length=42, db_index=True)
    # Null: its chain has not answered yet.
    accepted = models.BooleanField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True, db_index=True)

    class Meta:
        indexes: ClassVar = WorkItem.Meta.indexes

    def __str__(self) -> str:
        return f"signature of {self.address} on chain {self.chain_id}"


class ContractWallet(models.Model):
    """The chain of a smart-contract wallet: the first on which a signature was accepted.

    Accounts here have no chain, and another contract may be at the address on another one.
    """

    address = models.CharField(max_length=42, unique=True)
    chain_id = models.BigIntegerField()
    accepted_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.address} on chain {self.chain_id}"
