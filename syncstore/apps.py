"""The Sync API app; registers its sealed columns."""

from __future__ import annotations

from django.apps import AppConfig


class SyncstoreConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "syncstore"
    verbose_name = "Sync stores"

    def ready(self) -> None:
        from keychain.services import SealedColumn, register_sealed_column

        register_sealed_column(
            SealedColumn(
                model="syncstore.StoreEntry",
                column="sealed_value",
                context_of=lambda entry: entry.context,
                related=("store",),
            )
        )
        register_sealed_column(
            SealedColumn(
                model="syncstore.DeviceLink",
                column="sealed_code",
                context_of=lambda link: link.context,
            )
        )
