"""``manage.py demo``: the twenty steps, with two devices and a notification."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from demonstration.node_run import NodeDemonstration
from demonstration.run import DemoFailed, Demonstration, Progress

if TYPE_CHECKING:
    from argparse import ArgumentParser

ACTOR_WIDTH = 12


class Command(BaseCommand):
    help = (
        "Run the whole protocol against the running system and print the twenty steps."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one object a line")
        parser.add_argument("--dapp", default="", help="URL of another dapp")
        parser.add_argument(
            "--patience", type=float, default=60.0, help="seconds to wait for a step"
        )
        parser.add_argument(
            "--with-node",
            action="store_true",
            help="let a wallet of the published npm packages play W1",
        )
        parser.add_argument(
            "--keep", action="store_true", help="do not remove the account afterwards"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        report = self._print_json if options["json"] else self._print_text
        kind = NodeDemonstration if options["with_node"] else Demonstration
        demonstration = kind(
            report, dapp_url=options["dapp"], timeout_s=options["patience"]
        )
        try:
            demonstration.run()
        except DemoFailed as error:
            raise CommandError(str(error)) from None
        finally:
            if not options["keep"]:
                demonstration.clean_up()

    def _print_json(self, progress: Progress) -> None:
        self.stdout.write(json.dumps(progress.to_value()))
        self.stdout.flush()

    def _print_text(self, progress: Progress) -> None:
        time = progress.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
        number = f"{progress.step:>2}" if isinstance(progress.step, int) else " ·"
        self.stdout.write(
            f"{number}  {time}  {progress.actor:<{ACTOR_WIDTH}} {progress.text}"
        )
        for name, value in progress.wire.items():
            self.stdout.write(f"{'':>{ACTOR_WIDTH + 20}}{name}: {value}")
        self.stdout.flush()
