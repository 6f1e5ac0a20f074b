"""``manage.py restore FILE``: the database as it was when the backup was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from notifyweb.backup import restore

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Replace the whole database by a backup, while the processes are stopped."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--removed", type=Path, help="a newer list of removed accounts"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *_: Any, **options: Any) -> None:
        devices, removed = restore(options["file"], options["removed"])
        found = {"devices_signed_out": devices, "accounts_removed_again": removed}
        if options["json"]:
            self.stdout.write(json.dumps(found))
        else:
            self.stdout.write(
                f"restored; {devices} devices signed out, "
                f"{removed} accounts removed again"
            )
