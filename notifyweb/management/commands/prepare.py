"""``manage.py prepare``: migrations, static files and, with ``--seed``, the demo dapp."""

from __future__ import annotations

import time
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from keychain.services import KeyringError
from notifyweb.environment import SettingError
from notifyweb.startup import shared_sessions, unfit_for_migrating, wrong_schema

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator

SEEDING_SERVICES = "castserver.services"


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
            _migrate()
        if not options["no_static"]:
            with self._phase("static files collected"):
                call_command("collectstatic", interactive=False, verbosity=0)
        if options["seed"]:
            with self._phase("demo seeded"):
                _seed()

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.stdout.write(f"{name} ({time.monotonic() - started:.1f} s)")


def _migrate() -> None:
    fault = shared_sessions() or unfit_for_migrating()
    if fault:
        raise SettingError(fault)
    try:
        call_command("migrate", interactive=False, verbosity=0)
    except KeyringError as error:
        raise SettingError(str(error)) from None
    fault = wrong_schema()
    if fault:
        raise SettingError(fault)


def _seed() -> None:
    if find_spec(SEEDING_SERVICES) is None:
        return
    seed_demo = getattr(import_module(SEEDING_SERVICES), "seed_demo", None)
    if seed_demo is not None:
        seed_demo()
