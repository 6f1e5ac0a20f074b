"""``manage.py rotate_keychain``: re-seals everything under the first key, online.

1. Add the new key at the *end* of ``KEYCHAIN_KEYS`` and restart: every process opens with it.
2. Move it to the *front*, run ``manage.py migrate`` and restart: it seals from now on.
3. Run this command; run it again if it was interrupted.
4. When it reports that nothing is left, remove the old key and restart.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from keychain.keyring import KeyringError, keyring
from keychain.rotation import BATCH, left_over, rotate

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Seal everything in the keychain under the first key of KEYCHAIN_KEYS."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="answer in JSON")
        parser.add_argument("--batch", type=int, default=BATCH, help="rows at a time")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            resealed = refused = 0
            for progress in rotate(batch=options["batch"]):
                resealed += progress.resealed
                refused += progress.refused
                if not options["json"]:
                    self.stdout.write(f"{progress.place}: {progress.resealed} sealed")
            outcome = {
                "key": keyring().first.id,
                "resealed": resealed,
                "refused": refused,
                "left": left_over(),
            }
        except KeyringError as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps(outcome))
        else:
            self.stdout.write(
                "Key {key} sealed {resealed} more; {refused} do not open; {left} are "
                "left under other keys.".format(**outcome)
            )
        if outcome["left"]:
            raise CommandError("The replaced keys are still needed.")
