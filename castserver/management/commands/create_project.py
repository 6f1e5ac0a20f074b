"""``manage.py create_project``: a dapp, its keys and its first secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from castserver.services.errors import CastError
from castserver.services.projects.projects import TypeDraft, create_project
from walletconnect.identity.did import public_key_of

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = "Create a project. Its secret is shown once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--url", help="the dapp's address; default: hosted here")
        parser.add_argument(
            "--type",
            action="append",
            default=[],
            metavar="id:description",
            help="a notification type, also as 'id | name | description | icon'; may be "
            "repeated",
        )
        parser.add_argument("--description", default="")
        parser.add_argument("--icon", default="", help="address of an image")
        parser.add_argument("--json", action="store_true", help="answer in JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            project, secret = create_project(
                options["name"],
                url=options["url"],
                types=[TypeDraft.parse(text) for text in options["type"]],
                description=options["description"],
                icon=options["icon"],
            )
        except CastError as error:
            raise CommandError(error.reason) from None
        created = {
            "project_id": project.pk,
            "project_secret": secret,
            "name": project.name,
            "slug": project.slug,
            "url": project.url,
            "subscribe_key": project.public_key_x,
            "subscribe_topic": project.subscribe_topic,
            "authentication_key": public_key_of(project.authentication_did).hex(),
            "types": [each.type_id for each in project.types.all()],
        }
        if options["json"]:
            self.stdout.write(json.dumps(created))
            return
        for name, value in created.items():
            self.stdout.write(f"{name.replace('_', ' '):20} {value}")
