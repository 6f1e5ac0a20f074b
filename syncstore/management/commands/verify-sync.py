"""``manage.py verify-sync``. Django runs it by this file's name, which no import can have."""

from __future__ import annotations

from syncstore.management.verify import Command

__all__ = ["Command"]
