"""App configuration: registers the sealed column."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import AppConfig

if TYPE_CHECKING:
    from castserver.models import IdempotentCall


class CastserverConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "castserver"
    verbose_name = "Cast Server"

    def ready(self) -> None:
        from castserver.services.idempotency import answer_context
        from keychain.services import SealedColumn, register_sealed_column

        def context_of(row: IdempotentCall) -> tuple[str, str, str, str]:
            return answer_context(row.project_id, row.pk)

        register_sealed_column(
            SealedColumn("castserver.IdempotentCall", "answer", context_of)
        )
