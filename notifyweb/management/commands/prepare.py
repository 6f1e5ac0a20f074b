"""``manage.py prepare``: migrations, static files and, with ``--seed``, the demo dapp."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from castserver.services.projects.demo import seed_demo
from keychain.services import KeyringError
from notifyweb.backup import put_back_interrupted
from notifyweb.environment import SettingError
from notifyweb.startup import shared_sessions, unfit_for_migrating, wrong_schema

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator


class Command(BaseCommand):
    help = "Bring the database and the static files up to this version."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--seed", action="store_true", help="make the demo dapp")
        parser.add_argument(
            "--no-static",
            action="store_true",
            help="leave static files: an image has collected its own",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        with self._phase("migrated"):
            fault = shared_sessions()
            if not fault:
                if put_back_interrupted():
                    self.stdout.write("a restore was interrupted; the old data is back")
                fault = unfit_for_migrating()
            if fault:
                raise SettingError(fault)
            try:
                call_command("migrate", interactive=False, verbosity=0)
            except KeyringError as error:
                raise SettingError(str(error)) from None
            fault = wrong_schema()
            if fault:
                raise SettingError(fault)
        if not options["no_static"]:
            with self._phase("static files collected"):
                call_command("collectstatic", interactive=False, verbosity=0)
        if options["seed"]:
            with self._phase("demo seeded"):
                seed_demo()

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.stdout.write(f"{name} ({time.monotonic() - started:.1f} s)")
