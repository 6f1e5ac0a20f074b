"""``manage.py gateway``: our client of the relay, for the wallet side and the dapp side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import uvloop
from django.core.management.base import BaseCommand

from messaging.gateway.run import run_gateway
from messaging.models import Party

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Connect to the relay as each party: receive, publish, keep topics."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--party",
            action="append",
            choices=Party.values,
            help="connect as this party only (may be repeated; default: all)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        names = options["party"] or Party.values
        uvloop.run(run_gateway([Party(name) for name in names]))
