"""Registers the embedded relay with Django."""

from __future__ import annotations

from django.apps import AppConfig


class RelayServerConfig(AppConfig):
    default_auto_field = "django.db.models.BigAutoField"
    name = "relayserver"
    # The first release had one app for the server and our clients; its tables and
    # migrations keep the label.
    label = "relay"
    verbose_name = "Relay server"
