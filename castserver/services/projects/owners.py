"""The owner of a row's project, so that queues can be fair."""

from __future__ import annotations

from django.db.models import TextField
from django.db.models.functions import Cast, Coalesce


def owner_of(project: str) -> Coalesce:
    """The owner of the project at this path, as a text that is never null.

    Projects that the operator created have no owner; each counts as an owner of its own.
    """
    return Coalesce(
        Cast(f"{project}__owner_id", TextField()), Cast(f"{project}_id", TextField())
    )
