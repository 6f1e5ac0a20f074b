"""App configuration of ``preferences``."""

from __future__ import annotations

from django.apps import AppConfig


class PreferencesConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "preferences"
    verbose_name = "Preferences shared by devices"
