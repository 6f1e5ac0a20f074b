"""``manage.py replay_inbox``: put messages that failed or were refused back to due."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from messaging.models import InboxMessage
from messaging.services import REPLAYABLE, replay

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Put received messages that were not handled back to due."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--state",
            choices=[state.value for state in REPLAYABLE],
            default=InboxMessage.State.FAILED.value,
        )
        parser.add_argument("--topic", default="", help="only of this topic")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        state = InboxMessage.State(options["state"])
        count = replay(state, topic=options["topic"])
        if options["json"]:
            self.stdout.write(json.dumps({"state": state.value, "replayed": count}))
        else:
            self.stdout.write(f"{count} {state.value} messages are due again")
