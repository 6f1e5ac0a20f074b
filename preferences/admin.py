"""Shared preferences in the admin: read-only."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import ReadOnlyAdmin
from preferences.models import DappPreferences


@admin.register(DappPreferences)
class DappPreferencesAdmin(ReadOnlyAdmin):
    list_display = ("dapp_url", "account", "updated_at")
    search_fields = ("dapp_url", "account__address")
