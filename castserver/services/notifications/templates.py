"""Templates: notifications with variables such as ``{{ amount }}``.

Variables are replaced once: text that a value brings along is not replaced again. Whatever
else has double braces is refused, so that an unfinished template is never sent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import transaction

from accounts.services import audit
from castserver.models import MessageTemplate, Project
from castserver.services.errors import Invalid, Missing, TooMany
from castserver.services.projects.members import lock_project
from common import clock
from walletconnect.json_values import has_control_characters
from walletconnect.notify.values import CONTENT_FIELDS, NotifyMessage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

_VARIABLE: Final = re.compile(r"\{\{\s*([a-z][a-z0-9_]{0,31})\s*\}\}")
_BRACES: Final = re.compile(r"\{\{|\}\}")
# The type is chosen, not written.
TEXT_FIELDS: Final = tuple(name for name in CONTENT_FIELDS if name != "type")


def variables_of(message: NotifyMessage) -> list[str]:
    """The names of the variables, in the order in which they are first used."""
    texts = (getattr(message, name) for name in TEXT_FIELDS)
    return list(
        dict.fromkeys(name for text in texts for name in _VARIABLE.findall(text))
    )


def check_variables(message: NotifyMessage) -> None:
    """Raise ``Invalid`` for double braces that are not a variable."""
    for name in TEXT_FIELDS:
        if _BRACES.search(_VARIABLE.sub("", getattr(message, name))):
            raise Invalid(
                "write a variable as {{ name }}: small letters, digits and _, up to 32",
                field=name,
            )


def render(message: NotifyMessage, values: Mapping[str, str]) -> NotifyMessage:
    """The message with its variables filled in. Raises ``Invalid`` for a missing value."""
    check_variables(message)
    missing = [
        name for name in variables_of(message) if not values.get(name, "").strip()
    ]
    if missing:
        names = ", ".join(missing)
        raise Invalid(
            f"no value for the variable {names}"
            if len(missing) == 1
            else f"no values for the variables {names}",
            field="variables",
        )
    texts: dict[str, Any] = {
        name: _VARIABLE.sub(lambda match: values[match[1]].strip(), text)
        for name, text in ((name, getattr(message, name)) for name in TEXT_FIELDS)
    }
    return NotifyMessage(type=message.type, **texts)


def save_template(
    project: Project,
    name: str,
    message: NotifyMessage,
    *,
    template: MessageTemplate | None = None,
) -> MessageTemplate:
    """Create a template, or change one."""
    name = name.strip()
    if not 1 <= len(name) <= 64 or has_control_characters(name):
        raise Invalid("a template's name has 1 to 64 characters", field="name")
    if not message.title.strip() or not message.body.strip():
        raise Invalid("a template has a title and a text", field="title")
    for part in CONTENT_FIELDS:
        most = 64 if part in ("type", "title") else 255
        if len(getattr(message, part)) > most:
            raise Invalid(f"{part} has at most {most} characters", field=part)
    check_variables(message)
    if not project.types.filter(type_id=message.type).exists():
        raise Invalid(f"the project offers no type {message.type}", field="type")
    with transaction.atomic():
        # Locked, so that two forms cannot both take the last place or one name.
        lock_project(project)
        others = project.templates.all()
        if template is not None:
            others = others.exclude(pk=template.pk)
        elif others.count() >= settings.LIMITS.templates_per_project:
            raise TooMany(
                f"a project has at most {settings.LIMITS.templates_per_project} "
                "templates; delete one first"
            )
        if others.filter(name=name).exists():
            raise Invalid("another template has this name", field="name")
        row = template or MessageTemplate(project=project)
        row.name = name
        row.changed_at = clock.now()
        for part in CONTENT_FIELDS:
            setattr(row, part, getattr(message, part))
        row.save()
        audit("project.template-saved", subject=project.pk, detail=name, by_caller=True)
    return row


def template_of(project: Project, pk: UUID | str) -> MessageTemplate:
    found = project.templates.filter(pk=pk).first()
    if found is None:
        raise Missing("no template has this id")
    return found


def message_of(template: MessageTemplate) -> NotifyMessage:
    return NotifyMessage(**{name: getattr(template, name) for name in CONTENT_FIELDS})
