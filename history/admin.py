"""Registrations in the admin, read-only."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import ReadOnlyAdmin
from history.models import HistoryRegistration


@admin.register(HistoryRegistration)
class HistoryRegistrationAdmin(ReadOnlyAdmin):
    list_display = ("client_id", "tags", "relay_url", "registered_at")
    search_fields = ("=client_id",)
