"""``manage.py rotate_keychain``: everything sealed under the first key, online.

1. Put the new key at the *end* of ``KEYCHAIN_KEYS`` and restart: all can open it.
2. Move it to the *front* and restart: it seals from now on.
3. Run this, as often as it was interrupted.
4. When it says that nothing is left, take the old key out and restart.
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
            resealed, refused = self._rotate(options["batch"], quiet=options["json"])
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

    def _rotate(self, batch: int, *, quiet: bool) -> tuple[int, int]:
        resealed = refused = 0
        for progress in rotate(batch=batch):
            resealed += progress.resealed
            refused += progress.refused
            if not quiet:
                self.stdout.write(f"{progress.place}: {progress.resealed} sealed")
        return resealed, refused
