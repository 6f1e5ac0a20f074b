"""Tells Django that ``keychain`` is an app."""

from __future__ import annotations

from django.apps import AppConfig


class KeychainConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "keychain"
    verbose_name = "Keychain"
