"""Who may do what in a project: its main owner, further members, and invitations.

Roles are changed under a lock of the project, so that limits hold and a role cannot be
changed while an invitation to it is accepted.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from accounts.models import User
from accounts.services import audit
from castserver.models import Project, ProjectInvitation, ProjectMember, Role
from castserver.services.errors import Ended, Invalid, Missing, Taken, TooMany
from common import clock, entropy
from keychain.services import token_digest

if TYPE_CHECKING:
    from uuid import UUID

MAX_LABEL: Final = 254
MAX_TOKEN: Final = 128


class Right(StrEnum):
    """What a page of the console or a form on it needs."""

    # The overview, and of all else only what concerns the user's own accounts.
    VISIT = "visit"
    # Send to the user's own accounts.
    TRY = "try"
    VIEW = "view"
    SEND = "send"
    MANAGE = "manage"


RIGHTS: Final[dict[str, frozenset[Right]]] = {
    Role.OWNER: frozenset(Right),
    Role.SENDER: frozenset({Right.VISIT, Right.TRY, Right.VIEW, Right.SEND}),
    Role.VIEWER: frozenset({Right.VISIT, Right.VIEW}),
}
# Every user of a server in demo mode, at its shared dapp.
GUEST_RIGHTS: Final = frozenset({Right.VISIT, Right.TRY})


def role_of(user: User, project: Project) -> Role | None:
    if project.owner_id == user.pk:
        return Role.OWNER
    found = project.members.filter(user=user).values_list("role", flat=True).first()
    return None if found is None else Role(found)


def rights_of(user: User, project: Project) -> frozenset[Right]:
    """Empty if the user may not know that the project exists."""
    role = role_of(user, project)
    if role is not None:
        return RIGHTS[role]
    return GUEST_RIGHTS if settings.DEMO and project.is_demo else frozenset()


def projects_of(user: User) -> Q:
    """The filter of the projects that the user is a member of."""
    return Q(owner=user) | Q(
        pk__in=ProjectMember.objects.filter(user=user).values("project_id")
    )


# --- invitations ------------------------------------------------------------------------


@transaction.atomic
def invite(
    project: Project, *, by: User, role: str, days: int, label: str = ""
) -> tuple[ProjectInvitation, str]:
    """A new invitation and its token, which cannot be shown again."""
    if role not in Role.values:
        raise Invalid("choose owner, sender or viewer", field="role")
    longest = settings.LIMITS.invitation_days
    if not 1 <= days <= longest:
        raise Invalid(f"an invitation is valid for 1 to {longest} days", field="days")
    label = label.strip()
    if len(label) > MAX_LABEL or not label.isprintable():
        raise Invalid(
            f"a name is one line of up to {MAX_LABEL} characters", field="label"
        )
    lock_project(project)
    most = settings.LIMITS.invitations_per_project
    if project.invitations.open().count() >= most:
        raise TooMany(f"{most} invitations are open already; withdraw one first")
    _require_room(project)
    token = entropy.token_hex(32)
    now = clock.now()
    made = ProjectInvitation.objects.create(
        project=project,
        digest=token_digest(token),
        role=role,
        label=label,
        invited_by=by,
        created_at=now,
        expires_at=now + timedelta(days=days),
    )
    audit("project.member-invited", actor=by, subject=project.pk, detail=role)
    return made, token


def find_invitation(token: str) -> ProjectInvitation:
    """The invitation of a link; raises if the token is unknown. It may have ended."""
    found = None
    if 0 < len(token) <= MAX_TOKEN:
        found = (
            ProjectInvitation.objects.select_related("project", "invited_by")
            .filter(digest=token_digest(token))
            .first()
        )
    if found is None:
        raise Missing("there is no such invitation")
    return found


def require_open(invitation: ProjectInvitation) -> None:
    """Raise with the reason why the invitation cannot be accepted."""
    if invitation.accepted_at is not None:
        raise Ended("this invitation was used already; each is for one person")
    if invitation.withdrawn_at is not None:
        raise Ended("this invitation was withdrawn")
    if invitation.expires_at <= clock.now():
        raise Ended("this invitation has expired; ask for another")


@transaction.atomic
def accept(invitation: ProjectInvitation, user: User) -> ProjectMember:
    """Make the user a member; the invitation is used up."""
    project = lock_project(invitation.project)
    row = ProjectInvitation.objects.select_for_update().get(pk=invitation.pk)
    require_open(row)
    if role_of(user, project) is not None:
        raise Taken("you are a member of this project already")
    _require_room(project)
    now = clock.now()
    made = ProjectMember.objects.create(
        project=project, user=user, role=row.role, added_at=now
    )
    row.accepted_at, row.accepted_by = now, user
    row.save(update_fields=["accepted_at", "accepted_by"])
    audit("project.member-added", actor=user, subject=project.pk, detail=row.role)
    return made


@transaction.atomic
def withdraw(project: Project, invitation_id: UUID, *, by: User) -> None:
    found = project.invitations.open().filter(pk=invitation_id)
    if not found.update(withdrawn_at=clock.now()):
        raise Missing("there is no open invitation with this id")
    audit("project.invitation-withdrawn", actor=by, subject=project.pk)


# --- members ----------------------------------------------------------------------------


@transaction.atomic
def set_role(project: Project, member_pk: int, role: str, *, by: User) -> ProjectMember:
    if role not in Role.values:
        raise Invalid("choose owner, sender or viewer", field="role")
    lock_project(project)
    member = _member(project, member_pk)
    if member.role != role:
        detail = f"{member.role} to {role}"
        member.role = role
        member.save(update_fields=["role"])
        audit(
            "project.role-changed",
            actor=by,
            subject=project.pk,
            detail=f"{member.user.username}: {detail}",
        )
    return member


@transaction.atomic
def remove(project: Project, member_pk: int, *, by: User) -> None:
    lock_project(project)
    member = _member(project, member_pk)
    member.delete()
    audit(
        "project.member-removed",
        actor=by,
        subject=project.pk,
        detail=member.user.username,
    )


@transaction.atomic
def leave(project: Project, user: User) -> None:
    row = lock_project(project)
    if row.owner_id == user.pk:
        raise Invalid(
            "the main owner cannot leave; hand the project over to another member first"
        )
    deleted, _ = row.members.filter(user=user).delete()
    if not deleted:
        raise Missing("you are no member of this project")
    audit("project.member-left", actor=user, subject=project.pk)


@transaction.atomic
def hand_over(project: Project, member_pk: int, *, by: User) -> None:
    """Make a member the main owner; the previous one stays an owner.

    Only the main owner can. If that person's account was removed, any owner can.
    """
    row = lock_project(project)
    if row.owner_id not in (None, by.pk):
        raise Invalid("only the main owner can hand the project over")
    member = _member(row, member_pk)
    require_room_of_owner(member.user)
    taken = Project.objects.filter(url=row.url, owner=member.user)
    if taken.exclude(pk=row.pk).exists():
        raise Taken("another project of this member has the same address")
    member.delete()
    if row.owner_id is not None:
        ProjectMember.objects.create(
            project=row, user_id=row.owner_id, role=Role.OWNER, added_at=clock.now()
        )
    Project.objects.filter(pk=row.pk).update(owner=member.user)
    audit(
        "project.handed-over",
        actor=by,
        subject=row.pk,
        detail=member.user.username,
    )


def require_room_of_owner(owner: User) -> None:
    """Raise if this person is the main owner of as many projects as one may be."""
    most = settings.LIMITS.projects_per_owner
    # The lock keeps calls at the same time within the limit.
    User.objects.select_for_update().get(pk=owner.pk)
    if Project.objects.filter(owner=owner).count() >= most:
        raise TooMany(
            f"one person has at most {most} projects; close one that is not needed"
        )


def lock_project(project: Project) -> Project:
    return Project.objects.select_for_update(of=("self",)).get(pk=project.pk)


def _member(project: Project, pk: int) -> ProjectMember:
    found = project.members.select_related("user").filter(pk=pk).first()
    if found is None:
        raise Missing("there is no such member")
    return found


def _require_room(project: Project) -> None:
    most = settings.LIMITS.members_per_project
    # The main owner is a member, too.
    if project.members.count() + 1 >= most:
        raise TooMany(f"a project has at most {most} members")
