"""Tells Django that ``castserver`` is an app."""

from __future__ import annotations

from django.apps import AppConfig


class CastserverConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "castserver"
    verbose_name = "Cast Server"
