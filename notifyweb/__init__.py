"""The Django project: settings, environment, addresses, tasks, embedded services."""

from __future__ import annotations

__version__ = "0.1.0"
