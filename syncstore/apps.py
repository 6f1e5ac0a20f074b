"""Tells Django that ``syncstore`` is an app, and the keychain what it seals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import AppConfig

if TYPE_CHECKING:
    from syncstore.models import StoreEntry


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
                context_of=_context_of,
                related=("store",),
            )
        )


def _context_of(entry: StoreEntry) -> tuple[str, str, str, str]:
    return entry.context
