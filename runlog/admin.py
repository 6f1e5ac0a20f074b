"""Admin page of the run log."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import ReadOnlyAdmin
from runlog.models import StepRecord


@admin.register(StepRecord)
class StepRecordAdmin(ReadOnlyAdmin):
    list_display = ("run", "step", "actor", "at")
    list_filter = ("step",)
    search_fields = ("=run",)
