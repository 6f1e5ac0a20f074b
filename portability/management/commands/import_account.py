"""``manage.py import_account FILE``: take what an account's export has and this server lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.models import Account
from accounts.services import find_account, proven_account
from portability.passphrases import read_passphrase
from portability.schemas import ExportFileError, Header, read_lines
from portability.services.importing import KINDS, ImportReport, import_file

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = (
        "Import an export of an account. Exit code 1: the file or some of its lines were "
        "refused; 2: the command was not understood."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--passphrase-file",
            type=Path,
            help="open the sealed keys with the first line of this file",
        )
        parser.add_argument("--dry-run", action="store_true", help="change nothing")
        parser.add_argument(
            "--force",
            action="store_true",
            help="create the account if its owner has not signed in here yet",
        )
        parser.add_argument("--json", action="store_true", help="report in JSON")

    def handle(self, *_: Any, **options: Any) -> None:
        passphrase = read_passphrase(options["passphrase_file"])
        path: Path = options["file"]
        try:
            with path.open("rb") as file, transaction.atomic():
                if options["force"]:
                    # So that its owner finds everything at the first sign-in.
                    first = next(read_lines(file), None)
                    if (
                        isinstance(first, Header)
                        and find_account(str(first.account)) is None
                    ):
                        proven_account(str(first.account), user=None)
                report = import_file(
                    file,
                    Account.objects.all(),
                    passphrase=passphrase,
                    dry_run=options["dry_run"],
                )
                transaction.set_rollback(options["dry_run"])
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}", returncode=2) from None
        except ExportFileError as error:
            if options["json"]:
                value = {"line": error.line, "reason": error.reason}
                self.stdout.write(json.dumps({"error": value}))
            raise CommandError(f"{error} Nothing was changed.") from None
        self._show(report, options)
        if report.refused_count:
            raise CommandError(f"{report.refused_count} lines were refused")

    def _show(self, report: ImportReport, options: dict[str, Any]) -> None:
        if options["json"]:
            value = report.to_value() | {"dryRun": options["dry_run"]}
            self.stdout.write(json.dumps(value))
            return
        for kind in KINDS:
            each = report.counts[kind]
            self.stdout.write(
                f"{kind:<14} {each.new:>7} new {each.changed:>7} changed "
                f"{each.present:>7} already here {each.refused:>7} refused"
            )
        for line, reason in report.refused:
            self.stdout.write(f"line {line}: {reason}")
        if report.has_keys and not report.opened_keys:
            self.stdout.write("the keys stay sealed: no passphrase was given")
