"""The demo dapp of a fresh installation."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import connection, transaction

from castserver.models import Project
from castserver.services.errors import Invalid
from castserver.services.projects.projects import TypeDraft, create_project, hosted_url
from castserver.services.projects.server_keys import public_keys

NAME: Final = "Acme DAO"
DESCRIPTION: Final = "A demo dapp: proposals, votes and treasury alerts."
TYPES: Final = (
    TypeDraft("proposals", "A new proposal is open for voting"),
    TypeDraft("results", "A vote has ended"),
    TypeDraft("alerts", "Something urgent happened in the treasury"),
)
# Of two processes that start at once, one creates the project.
SEED_LOCK: Final = 0x61636D65


def seed_demo() -> Project:
    """The demo dapp, created if there is none. Its secret is discarded."""
    if not settings.DEMO:
        raise Invalid("the demo is switched off (NOTIFYWEB_DEMO)")
    public_keys()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [SEED_LOCK])
        project = Project.objects.filter(is_demo=True).order_by("created_at").first()
        if project is None:
            project, _ = create_project(
                NAME, types=TYPES, description=DESCRIPTION, is_demo=True
            )
            project.secrets.all().delete()
    # The public URL may have changed since the last start.
    address = hosted_url(project.slug)
    if project.is_hosted and project.url != address:
        Project.objects.filter(pk=project.pk).update(url=address)
        project.url = address
    return project
