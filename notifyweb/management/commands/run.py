"""``manage.py run``: the whole system on this machine."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from notifyweb.launcher.system import run


class Command(BaseCommand):
    help = "Start every process of the system and keep it running."
    requires_system_checks = []

    def handle(self, *_: Any, **__: Any) -> None:
        sys.exit(run())
