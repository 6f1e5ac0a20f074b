"""``manage.py daphne``: pages, REST and browser sockets, served by Daphne."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Serve pages, REST and browser sockets."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--bind", help="address (NOTIFYWEB_BIND)")
        parser.add_argument("--port", type=int, help="port (NOTIFYWEB_PORT)")

    def handle(self, *_: Any, **options: Any) -> None:
        from django.conf import settings

        from notifyweb.web import serve

        serve(
            bind=options["bind"] or settings.BIND,
            port=options["port"] or settings.PORT,
        )
