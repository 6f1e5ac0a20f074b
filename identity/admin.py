"""The Keys Server and our identity keys in the admin: read-only, no key and no token."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import ReadOnlyAdmin
from identity.models import (
    ContractProof,
    ContractWallet,
    IdentityKey,
    IdentityRegistration,
    IdentityUnregistration,
    InviteRegistration,
    KnownIdentity,
)


@admin.register(IdentityRegistration)
class IdentityRegistrationAdmin(ReadOnlyAdmin):
    list_display = ("public_key", "account", "registered_at", "unregistered_at")
    search_fields = ("public_key", "account")


@admin.register(InviteRegistration)
class InviteRegistrationAdmin(ReadOnlyAdmin):
    list_display = ("account", "invite_key", "issued_at")
    search_fields = ("account",)


@admin.register(IdentityKey)
class IdentityKeyAdmin(ReadOnlyAdmin):
    list_display = ("did", "account", "device", "registered_at", "retired_at", "reason")
    search_fields = ("did", "account__address")


@admin.register(IdentityUnregistration)
class IdentityUnregistrationAdmin(ReadOnlyAdmin):
    list_display = ("did", "keys_server", "attempts", "done_at", "reason")
    search_fields = ("did",)
    hidden = ("id_auth",)


@admin.register(KnownIdentity)
class KnownIdentityAdmin(ReadOnlyAdmin):
    list_display = ("did", "keys_server", "checked_at")
    search_fields = ("did",)


@admin.register(ContractProof)
class ContractProofAdmin(ReadOnlyAdmin):
    list_display = ("address", "chain_id", "accepted", "checked_at", "reason")
    search_fields = ("address",)


@admin.register(ContractWallet)
class ContractWalletAdmin(ReadOnlyAdmin):
    list_display = ("address", "chain_id", "accepted_at")
    search_fields = ("address",)
