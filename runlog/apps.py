"""Registers the run log with Django."""

from __future__ import annotations

from django.apps import AppConfig


class RunlogConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "runlog"
    verbose_name = "Run log"
