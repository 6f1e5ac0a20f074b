"""Registers our relay clients with Django and imports the handlers of all apps."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class MessagingConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "messaging"
    verbose_name = "Messaging"

    def ready(self) -> None:
        from messaging import checks  # noqa: F401

        # Handlers register themselves: this package imports no app above it.
        autodiscover_modules("handlers")
