"""App configuration of ``portability``: registers its sealed column."""

from __future__ import annotations

from operator import attrgetter

from django.apps import AppConfig


class PortabilityConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "portability"
    verbose_name = "Export and import"

    def ready(self) -> None:
        from keychain.services import SealedColumn, register_sealed_column

        register_sealed_column(
            SealedColumn(
                model="portability.PreparedImport",
                column="sealed_passphrase",
                context_of=attrgetter("context"),
            )
        )
