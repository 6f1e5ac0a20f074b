"""Identity keys: those the Keys Server serves, those of our devices, those we looked up."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from accounts.models import Account, Device


class IdentityRegistration(models.Model):
    """What the Keys Server serves: a CACAO that binds an identity key to an account."""

    # The key as its did:key without the "did:key:" prefix, as callers ask for it.
    public_key = models.CharField(max_length=64, unique=True)
    account = models.CharField(max_length=168, db_index=True)
    # Field for field as it was registered: others verify it again.
    cacao = models.JSONField()
    registered_at = models.DateTimeField()
    unregistered_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.public_key} of {self.account}"


class IdentityKey(models.Model):
    """The identity key of one device for one account; its private part is in the keychain."""

    device = models.ForeignKey(
        Device, on_delete=models.CASCADE, related_name="identity_keys"
    )
    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="identity_keys"
    )
    did = models.CharField(max_length=64, unique=True)
    cacao = models.JSONField()
    created_at = models.DateTimeField()
    registered_at = models.DateTimeField(null=True, blank=True)
    unregister_wanted_at = models.DateTimeField(null=True, blank=True)
    unregistered_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["device", "account"],
                condition=models.Q(unregister_wanted_at=None),
                name="one_identity_key_per_device_and_account",
            )
        ]

    def __str__(self) -> str:
        return self.did


class KnownIdentity(models.Model):
    """A CACAO that we fetched from a Keys Server and verified ourselves."""

    did = models.CharField(max_length=64)
    keys_server = models.CharField(max_length=255)
    # Empty: the server said that it does not know the key.
    cacao = models.JSONField(null=True)
    checked_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["did", "keys_server"], name="known_identity_is_unique"
            )
        ]

    def __str__(self) -> str:
        return self.did
