"""App configuration; registers the sealed column with the keychain."""

from __future__ import annotations

from operator import attrgetter

from django.apps import AppConfig


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
                context_of=attrgetter("context"),
            )
        )
