"""``manage.py doctor``: check the installation and explain what is wrong."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from notifyweb.doctor.checks import examine
from notifyweb.doctor.findings import as_json, as_text, exit_code

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = (
        "Check settings, keys, ports, clocks, servers, mail, disk and processes. Exit "
        "code 0: all is well; 1: warnings or faults; 2: wrong usage."
    )
    # They are among the checks.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *_: Any, **options: Any) -> None:
        findings = examine()
        report = as_json(findings) if options["json"] else as_text(findings)
        self.stdout.write(report)
        self.stdout.flush()
        sys.exit(exit_code(findings))
