"""Tells Django that ``relay`` is an app, and collects everybody's handlers."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class RelayConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "relay"
    verbose_name = "Relay"

    def ready(self) -> None:
        from messaging import checks  # noqa: F401

        # Upwards by registration: the relay imports no app that it serves.
        autodiscover_modules("handlers")
