"""Tells Django that ``dashboard`` is an app, and the keychain what it seals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import AppConfig

if TYPE_CHECKING:
    from dashboard.models import FormSubmission


class DashboardConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "dashboard"
    verbose_name = "Dashboard"

    def ready(self) -> None:
        from accounts import channels
        from castserver.services.projects.projects import when_documents_change
        from dashboard.live_channel import LivePage
        from keychain.services import SealedColumn, register_sealed_column
        from subscriptions.services.dapps.documents import expire_now

        channels.register(LivePage())
        when_documents_change(expire_now)
        register_sealed_column(
            SealedColumn(
                model="dashboard.FormSubmission",
                column="sealed_secret",
                context_of=_context_of,
            )
        )


def _context_of(row: FormSubmission) -> tuple[str, str, str, str]:
    return row.context
