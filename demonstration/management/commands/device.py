"""``manage.py device --demo``: a terminal as one more device of a demo account."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from demonstration.run import DemoFailed
from demonstration.terminal_device import Line, TerminalDevice, demo_key

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from types import FrameType


class Command(BaseCommand):
    help = (
        "Join the two-window demo as a device without a browser, and print what arrives "
        "until Ctrl-C, or until another device signs this one out."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "link",
            nargs="?",
            default="",
            help='the link or key of "Copy a link for a private window"; default: a new '
            "demo wallet, whose link is printed",
        )
        parser.add_argument(
            "--demo",
            action="store_true",
            required=True,
            help="only demo wallets can sign in from a terminal",
        )
        parser.add_argument("--json", action="store_true", help="one object a line")
        parser.add_argument(
            "--for", type=float, dest="seconds", help="end after this many seconds"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        if not settings.DEMO:
            raise CommandError(
                "demo wallets are only accepted in demo mode (NOTIFYWEB_DEMO=1)"
            )
        try:
            key = demo_key(options["link"]) if options["link"] else None
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from None
        show = self._show_json if options["json"] else self._show_text
        device = TerminalDevice(show, private_key=key)
        # The device is signed out on SIGTERM as well.
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            device.join()
            device.follow(seconds=options["seconds"])
        except DemoFailed as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            pass
        finally:
            device.leave()
            signal.signal(signal.SIGTERM, before)

    def _show_json(self, line: Line) -> None:
        self.stdout.write(json.dumps(line.to_value()))
        self.stdout.flush()

    def _show_text(self, line: Line) -> None:
        time = line.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
        self.stdout.write(f"{time}  {line.kind:<13} {line.text}")
        self.stdout.flush()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
