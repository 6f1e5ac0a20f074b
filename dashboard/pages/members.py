"""The members of a project and its open invitations, as the console shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import Account
from castserver.models import ProjectInvitation, Role
from dashboard.templatetags.look import short_address

if TYPE_CHECKING:
    from datetime import datetime

    from django_stubs_ext import StrPromise

    from accounts.models import User
    from castserver.models import Project, ProjectMember

INCLUDES: Final[dict[Role, StrPromise]] = {
    Role.OWNER: _(
        "everything: also keys, secrets, webhooks, the domain, members and closing"
    ),
    Role.SENDER: _(
        "compose, schedule, cancel and retry notifications, templates, and see everything "
        "except secrets"
    ),
    Role.VIEWER: _("see everything except secrets, and change nothing"),
}


@dataclass(frozen=True, slots=True)
class Person:
    # None: the main owner, who has no row.
    pk: int | None
    name: str
    # CAIP-10; empty if the account was removed.
    account: str
    role: Role
    since: datetime
    is_self: bool


@dataclass(frozen=True, slots=True)
class MemberList:
    people: list[Person]
    invitations: list[ProjectInvitation]
    # Whether the reader may hand the project over, and may leave.
    may_hand_over: bool
    may_leave: bool
    max_members: int
    max_invitations: int


def invitation_link(token: str) -> str:
    return f"{settings.PUBLIC_URL}{reverse('dashboard:invitation', args=[token])}"


def address_of(user: User | None) -> str:
    """The account of a person as others see it; empty if it was removed."""
    account = Account.objects.of_user(user.pk).order_by("pk").first() if user else None
    return account.address if account else ""


def member_list(project: Project, reader: User) -> MemberList:
    rows = list(project.members.select_related("user").order_by("added_at", "pk"))
    people = [_person(None, project.owner, Role.OWNER, project.created_at, reader)]
    people += [
        _person(row.pk, row.user, Role(row.role), row.added_at, reader) for row in rows
    ]
    if project.owner is None:
        del people[0]
    return MemberList(
        people=people,
        invitations=list(project.invitations.open().order_by("-created_at")),
        may_hand_over=project.owner_id in (None, reader.pk),
        may_leave=any(row.user_id == reader.pk for row in rows),
        max_members=settings.LIMITS.members_per_project,
        max_invitations=settings.LIMITS.invitations_per_project,
    )


def member_of(project: Project, pk: int) -> Person | None:
    row: ProjectMember | None = (
        project.members.select_related("user").filter(pk=pk).first()
    )
    if row is None:
        return None
    return _person(row.pk, row.user, Role(row.role), row.added_at, None)


def _person(
    pk: int | None, user: User | None, role: Role, since: datetime, reader: User | None
) -> Person:
    address = address_of(user)
    return Person(
        pk=pk,
        name=short_address(address) if address else gettext("a removed account"),
        account=address,
        role=role,
        since=since,
        is_self=user is not None and user == reader,
    )
