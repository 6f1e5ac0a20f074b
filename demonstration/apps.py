"""Registers the demonstration's management command with Django."""

from __future__ import annotations

from django.apps import AppConfig


class DemonstrationConfig(AppConfig):
    name = "demonstration"
