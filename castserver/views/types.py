"""REST calls that read and replace the notification types of a project.

The documents and the explorer's answer change at once.
"""

from __future__ import annotations

from typing import Annotated, Any

from django.conf import settings
from django.http import HttpRequest  # noqa: TC002  # read at run time
from ninja import Body  # noqa: TC002
from pydantic import Field

from castserver.models import NotificationType, SecretScope
from castserver.services.errors import Taken
from castserver.services.projects import projects
from castserver.views import schemas
from castserver.views.api import project_of, served

Types = Annotated[
    list[schemas.TypeIn],
    Field(min_length=1, max_length=settings.LIMITS.scopes_per_subscription),
]


@served(
    "GET",
    "notification-types",
    response={200: list[schemas.TypeOut]},
    summary="The types that people choose among",
    tags=["Types"],
)
def get_notification_types(request: HttpRequest) -> Any:
    return [_type_value(each) for each in project_of(request).types.all()]


@served(
    "PUT",
    "notification-types",
    response={200: list[schemas.TypeOut], 409: schemas.Problem},
    scope=SecretScope.PROJECT,
    summary="Replace the types",
    tags=["Types"],
)
def put_notification_types(request: HttpRequest, types: Body[Types]) -> Any:
    """Subscribers keep what they chose; a new type is off until they enable it."""
    if len({each.id for each in types}) != len(types):
        raise Taken("two of the types have one id", field="id")
    rows = projects.set_types(
        project_of(request),
        [
            projects.TypeDraft(
                each.id, each.description or "", each.name or "", each.icon or ""
            )
            for each in types
        ],
    )
    return [_type_value(each) for each in rows]


def _type_value(row: NotificationType) -> dict[str, str]:
    return {
        "id": row.type_id,
        "name": row.name,
        "description": row.description,
        "icon": row.icon,
    }
