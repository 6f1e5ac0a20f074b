"""Members of a project: invitations, roles, leaving, handing over, and their limits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from accounts.models import AuditEntry, User
from castserver.models import Project, ProjectInvitation, Role
from castserver.services.errors import CastError, Ended, Invalid, Taken, TooMany
from castserver.services.projects import members
from castserver.services.projects.members import Right
from castserver.services.projects.projects import create_project
from common import clock
from keychain.services import ensure_canary, token_digest

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def keychain(db):
    ensure_canary()


def person(name: str) -> User:
    return User.objects.create(username=f"wallet-{name}")


@pytest.fixture
def owner():
    return person("owner")


@pytest.fixture
def project(owner) -> Project:
    return create_project("Lumen", owner=owner)[0]


def joined(project, owner, name, role="sender"):
    _, token = members.invite(project, by=owner, role=role, days=7)
    user = person(name)
    return user, members.accept(members.find_invitation(token), user)


def test_rights_by_role(project, owner):
    sender, _ = joined(project, owner, "a", "sender")
    viewer, _ = joined(project, owner, "b", "viewer")
    second, _ = joined(project, owner, "c", "owner")
    for user, rights in [
        (owner, set(Right)),
        (second, set(Right)),
        (sender, {Right.VISIT, Right.TRY, Right.VIEW, Right.SEND}),
        (viewer, {Right.VISIT, Right.VIEW}),
        (person("nobody"), set()),
    ]:
        assert members.rights_of(user, project) == rights


def test_only_a_digest_of_the_link_is_stored_and_it_works_once(project, owner):
    made, token = members.invite(project, by=owner, role="sender", days=7)
    assert made.digest == token_digest(token)
    assert not any(
        token in str(value) for value in ProjectInvitation.objects.values_list().get()
    )
    members.accept(members.find_invitation(token), person("a"))
    with pytest.raises(Ended, match="used already"):
        members.accept(members.find_invitation(token), person("b"))
    assert project.members.count() == 1


def test_expired_and_withdrawn_invitations_are_refused_in_words(
    project, owner, settings
):
    old, first = members.invite(project, by=owner, role="sender", days=1)
    ProjectInvitation.objects.filter(pk=old.pk).update(
        expires_at=clock.now() - timedelta(seconds=1)
    )
    with pytest.raises(Ended, match="expired"):
        members.accept(members.find_invitation(first), person("a"))
    made, second = members.invite(project, by=owner, role="sender", days=1)
    members.withdraw(project, made.pk, by=owner)
    with pytest.raises(Ended, match="withdrawn"):
        members.accept(members.find_invitation(second), person("b"))
    with pytest.raises(CastError, match="no open invitation"):
        members.withdraw(project, made.pk, by=owner)
    assert not project.members.exists()


def test_a_member_uses_up_no_second_invitation(project, owner):
    user, _ = joined(project, owner, "a")
    _, token = members.invite(project, by=owner, role="owner", days=7)
    for each in (user, owner):
        with pytest.raises(Taken, match="already"):
            members.accept(members.find_invitation(token), each)
    members.require_open(members.find_invitation(token))


@pytest.mark.parametrize(
    "values", [{"role": "admin"}, {"days": 0}, {"days": 31}, {"label": "a\nb"}]
)
def test_bad_values_make_no_invitation(project, owner, values):
    with pytest.raises(Invalid):
        members.invite(project, **({"by": owner, "role": "viewer", "days": 7} | values))
    assert not ProjectInvitation.objects.exists()


def test_limits_of_members_and_open_invitations(project, owner, settings):
    settings.LIMITS = replace(
        settings.LIMITS, members_per_project=3, invitations_per_project=2
    )
    made, _ = members.invite(project, by=owner, role="viewer", days=7)
    _, token = members.invite(project, by=owner, role="viewer", days=7)
    with pytest.raises(TooMany, match="2 invitations are open"):
        members.invite(project, by=owner, role="viewer", days=7)
    members.withdraw(project, made.pk, by=owner)
    joined(project, owner, "a")
    joined(project, owner, "b")
    # The owner and two others: the third invited person finds no room.
    with pytest.raises(TooMany, match="at most 3 members"):
        members.accept(members.find_invitation(token), person("c"))


def test_the_main_owner_cannot_leave_or_lose_the_role(project, owner):
    second, row = joined(project, owner, "a", "owner")
    with pytest.raises(Invalid, match="hand the project over"):
        members.leave(project, owner)
    # There is no row of the main owner that another owner could change or remove.
    assert [each.user for each in project.members.all()] == [second]
    with pytest.raises(Invalid, match="only the main owner"):
        members.hand_over(project, row.pk, by=second)
    members.leave(project, second)
    assert not project.members.exists()


def test_handing_over_keeps_the_previous_owner_as_an_owner(project, owner):
    user, row = joined(project, owner, "a", "viewer")
    members.hand_over(project, row.pk, by=owner)
    project.refresh_from_db()
    assert project.owner == user
    assert members.role_of(owner, project) is Role.OWNER
    assert project.members.get().user == owner
    members.leave(project, owner)


def test_owners_take_over_when_the_main_owner_is_gone(project, owner):
    user, row = joined(project, owner, "a", "owner")
    owner.delete()
    project.refresh_from_db()
    members.hand_over(project, row.pk, by=user)
    project.refresh_from_db()
    assert project.owner == user


def test_every_change_is_in_the_audit_log(project, owner):
    _, row = joined(project, owner, "a")
    made, _ = members.invite(project, by=owner, role="viewer", days=7)
    members.withdraw(project, made.pk, by=owner)
    members.set_role(project, row.pk, "owner", by=owner)
    members.set_role(project, row.pk, "owner", by=owner)
    members.remove(project, row.pk, by=owner)
    actions = AuditEntry.objects.filter(subject=project.pk).order_by("pk")
    assert [each.action for each in actions if "project.created" not in each.action][
        1:
    ] == [
        "project.member-invited",
        "project.member-added",
        "project.member-invited",
        "project.invitation-withdrawn",
        "project.role-changed",
        "project.member-removed",
    ]


def test_one_person_has_a_limited_number_of_projects(owner, settings):
    settings.LIMITS = replace(settings.LIMITS, projects_per_owner=3)
    made = [create_project(f"Lumen {number}", owner=owner)[0] for number in range(3)]
    with pytest.raises(TooMany, match="at most 3 projects"):
        create_project("One more", owner=owner)
    other = person("other")
    foreign = create_project("Foreign", owner=other)[0]
    row = foreign.members.create(user=owner, role=Role.OWNER, added_at=clock.now())
    with pytest.raises(TooMany, match="at most 3 projects"):
        members.hand_over(foreign, row.pk, by=other)
    made[0].delete()
    create_project("One more", owner=owner)
