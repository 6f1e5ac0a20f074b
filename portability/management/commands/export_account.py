"""``manage.py export_account ADDRESS``: an account as JSON Lines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from accounts.services import find_account
from keychain.passphrase import WeakPassphrase
from portability.passphrases import read_passphrase
from portability.services.export import export_account
from walletconnect.identity.did import with_chain

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Write an account with its subscriptions and notifications as JSON Lines."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("address", help="CAIP-10, or a bare 0x address")
        parser.add_argument(
            "--passphrase-file",
            type=Path,
            help="seal the keys, too, with the first line of this file",
        )
        parser.add_argument(
            "-o", "--output", type=Path, help="default: standard output"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        account = find_account(with_chain(options["address"].strip()))
        if account is None:
            raise CommandError("there is no such account here")
        try:
            chunks = export_account(
                account, passphrase=read_passphrase(options["passphrase_file"])
            )
        except WeakPassphrase as error:
            raise CommandError(str(error), returncode=2) from None
        output: Path | None = options["output"]
        if output is None:
            for chunk in chunks:
                self.stdout.write(chunk.decode(), ending="")
            return
        # Complete or not there at all; for the operator's eyes only.
        unfinished = output.with_name(f"{output.name}.part")
        try:
            descriptor = os.open(
                unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode=0o600
            )
            with os.fdopen(descriptor, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            unfinished.replace(output)
        except OSError as error:
            raise CommandError(f"{output}: {error.strerror}", returncode=2) from None
