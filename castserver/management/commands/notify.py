"""``manage.py notify``: send a notification from the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from castserver.models import Broadcast, Project
from castserver.services.errors import CastError
from castserver.services.notifications.broadcast import notify_everyone
from castserver.services.notifications.notify import notify
from walletconnect.identity.did import with_chain
from walletconnect.notify.values import CONTENT_FIELDS, NotifyMessage

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = (
        "Send a notification to accounts of a project, or to all that allow its type."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project_id")
        parser.add_argument(
            "--account",
            action="append",
            default=[],
            help="CAIP-10, or a bare 0x address; may be repeated; default: every "
            "subscriber",
        )
        parser.add_argument("--type", required=True)
        parser.add_argument("--title", required=True)
        parser.add_argument("--body", required=True)
        parser.add_argument("--icon", default="")
        parser.add_argument("--url", default="")
        parser.add_argument("--json", action="store_true", help="answer in JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(pk=options["project_id"]).first()
        if project is None:
            raise CommandError("there is no project with this id")
        message = NotifyMessage(**{name: options[name] for name in CONTENT_FIELDS})
        try:
            if options["account"]:
                accounts = [with_chain(text.strip()) for text in options["account"]]
                outcome = notify(project, message, accounts)
            else:
                outcome = notify_everyone(project, message)
        except CastError as error:
            raise CommandError(error.reason) from None
        if options["json"]:
            value = {
                "notification_id": str(outcome.notification_id),
                "sent": outcome.sent,
                "failed": [
                    {"account": each.account, "reason": each.reason}
                    for each in outcome.failed
                ],
                "notFound": outcome.not_found,
                "not_found": outcome.not_found,
            }
            self.stdout.write(json.dumps(value))
            return
        for account in outcome.sent:
            self.stdout.write(f"sent       {account}")
        for each in outcome.failed:
            self.stdout.write(f"failed     {each.account}: {each.reason}")
        for account in outcome.not_found:
            self.stdout.write(f"not found  {account}")
        rest = Broadcast.objects.filter(pk=outcome.notification_id, finished_at=None)
        if rest.exists():
            self.stdout.write("Workers continue with the remaining subscribers.")
