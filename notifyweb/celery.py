"""The Celery application; its settings are those that begin with ``CELERY_``."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notifyweb.settings")

app = Celery("notifyweb")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
