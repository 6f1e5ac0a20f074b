"""Registers the project's own commands, checks, tasks and static files."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.contrib.staticfiles.apps import StaticFilesConfig


class NotifywebConfig(AppConfig):
    # The other configuration of this module is named in INSTALLED_APPS.
    default = True
    name = "notifyweb"

    def ready(self) -> None:
        # The Celery application has to exist before anything starts a task by name.
        from notifyweb import celery, checks, reports  # noqa: F401

        if settings.SENTRY_DSN:
            reports.start(settings.SENTRY_DSN)


class CollectedFilesConfig(StaticFilesConfig):
    """Collects only what our pages use.

    The packages also bring a second htmx, a second API viewer and source maps, together
    more than our own files.
    """

    ignore_patterns = [
        *StaticFilesConfig.ignore_patterns,
        "django_htmx",
        "redoc*",
        "*.js.map",
    ]
