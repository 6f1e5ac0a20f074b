"""``manage.py backup FILE``: one consistent dump, while everything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from notifyweb.backup import back_up, removed_beside

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Write the database to a file. The sealing keys are not in it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--json", action="store_true")

    def handle(self, *_: Any, **options: Any) -> None:
        path: Path = options["file"]
        size = back_up(path)
        if options["json"]:
            self.stdout.write(json.dumps({"file": str(path), "bytes": size}))
        else:
            self.stdout.write(f"{path}: {size} bytes; see also {removed_beside(path)}")
