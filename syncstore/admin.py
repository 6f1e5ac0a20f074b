"""Sync stores in the admin: read-only; values hold keys and are not shown."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import ReadOnlyAdmin
from syncstore.models import (
    ColdStart,
    DeviceCursor,
    DeviceLink,
    Store,
    StoreCheck,
    StoreEntry,
    StoreUpdate,
)


@admin.register(Store)
class StoreAdmin(ReadOnlyAdmin):
    list_display = ("name", "account", "topic", "last_id", "created_at")
    search_fields = ("topic", "account__address")
    hidden = ("signature_fingerprint",)


@admin.register(StoreEntry)
class StoreEntryAdmin(ReadOnlyAdmin):
    list_display = ("key", "store", "last_id", "is_deleted", "updated_at")
    search_fields = ("key", "store__topic", "store__account__address")
    hidden = ("sealed_value",)


@admin.register(StoreUpdate)
class StoreUpdateAdmin(ReadOnlyAdmin):
    list_display = ("key", "action", "rpc_id", "outcome", "source", "note", "at")
    list_filter = ("outcome", "source", "action")
    search_fields = ("key", "store__topic", "store__account__address")


@admin.register(DeviceCursor)
class DeviceCursorAdmin(ReadOnlyAdmin):
    list_display = ("device", "store", "update_pk", "moved_at")
    search_fields = ("store__topic", "store__account__address")


@admin.register(ColdStart)
class ColdStartAdmin(ReadOnlyAdmin):
    list_display = ("account", "state", "found", "replayed", "attempts", "reason")
    list_filter = ("state",)
    search_fields = ("account__address",)


@admin.register(DeviceLink)
class DeviceLinkAdmin(ReadOnlyAdmin):
    hidden = ("code_digest", "sealed_code")
    list_display = ("account", "device", "created_at", "expires_at", "used_at")
    search_fields = ("account__address",)


@admin.register(StoreCheck)
class StoreCheckAdmin(ReadOnlyAdmin):
    list_display = ("account", "state", "requested_at", "finished_at", "reason")
    list_filter = ("state",)
    search_fields = ("account__address",)
