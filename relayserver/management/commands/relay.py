"""``manage.py relay``: one node of the embedded relay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from common.listening import inherited_socket
from relayserver.node import RelayBroken, run_node

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Run a node of the embedded relay until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default=settings.BIND)
        parser.add_argument(
            "--port", type=int, default=settings.RELAY_PORT, help="0 takes a free one"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            uvloop.run(
                run_node(
                    host=options["host"],
                    port=options["port"],
                    database=settings.DATABASES["default"],
                    redis_url=settings.REDIS_URL,
                    limits=settings.LIMITS,
                    listening=self._write_port,
                    inherited=inherited_socket(),
                )
            )
        except RelayBroken:
            raise CommandError(
                "a background task of the relay ended; see the log"
            ) from None

    def _write_port(self, port: int) -> None:
        self.stdout.write(f"relay listening on port {port}")
        self.stdout.flush()
