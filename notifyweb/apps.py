"""Tells Django about the project's own commands, checks and tasks."""

from __future__ import annotations

from django.apps import AppConfig


class NotifywebConfig(AppConfig):
    name = "notifyweb"

    def ready(self) -> None:
        # The Celery application has to exist before anything starts a task by name.
        from notifyweb import celery, checks  # noqa: F401
