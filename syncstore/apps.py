"""Tells Django that ``syncstore`` is an app."""

from __future__ import annotations

from django.apps import AppConfig


class SyncstoreConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "syncstore"
    verbose_name = "Sync stores"
