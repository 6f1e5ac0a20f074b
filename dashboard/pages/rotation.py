"""Where the replacement of a project's keys stands."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings

from castserver.models import ProjectKeys
from castserver.services.projects.documents import did_document_to_publish

if TYPE_CHECKING:
    from datetime import datetime

    from castserver.models import Project


@dataclass(frozen=True, slots=True)
class Rotation:
    # Keys that the domain does not publish yet.
    next: ProjectKeys | None
    previous: list[ProjectKeys]
    # The text of the did.json to publish, and its address.
    document: str
    address: str
    days: int

    @property
    def complete_at(self) -> datetime | None:
        """When the last of the previous keys is dropped."""
        ends = [each.valid_until for each in self.previous if each.valid_until]
        return max(ends, default=None)


def rotation_of(project: Project) -> Rotation:
    rows = list(project.other_keys.order_by("-created_at"))
    waiting = [each for each in rows if each.state == ProjectKeys.State.NEXT]
    return Rotation(
        next=waiting[0] if waiting else None,
        previous=[each for each in rows if each.state == ProjectKeys.State.PREVIOUS],
        document=json.dumps(
            did_document_to_publish(project), indent=2, ensure_ascii=False
        ),
        address=f"{project.url}/.well-known/did.json",
        days=settings.LIMITS.rotated_keys_days,
    )
