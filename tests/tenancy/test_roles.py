"""The matrix of roles and routes of the console: each page and form as each kind of member.

Routes come from the URL configuration; one that is in neither table of its method fails.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from django.urls import reverse

from castserver.models import Project, ProjectMember, Role
from common import clock
from tests.dashboard.conftest import Browser, known
from tests.dashboard.conftest import Person as Member
from tests.people import CHARLIE
from tests.tenancy.rows import all_rows, touched
from tests.tenancy.test_pages import OBJECTS, ROUTES, forms_of, undone

if TYPE_CHECKING:
    from tests.tenancy.conftest import World

# By the part of the name behind "dashboard:".
VIEWERS_READ = {
    "project",
    "project-domain",
    "project-document",
    "project-keys",
    "project-leave",
    "project-lists",
    "project-members",
    "project-rotation",
    "project-scheduled",
    "project-sent",
    "project-settings",
    "project-subscribers",
    "project-subscribers-csv",
    "project-templates",
    "project-types",
    "project-webhook",
    "project-webhooks",
    "project-welcome",
    "template-edit",
}
SENDERS_READ = VIEWERS_READ | {"project-send", "template-new"}
VIEWERS_CHANGE = {"project-leave"}
SENDERS_CHANGE = VIEWERS_CHANGE | {
    "broadcast-cancel",
    "broadcast-retry",
    "list-delete",
    "project-send",
    "project-welcome",
    "template-edit",
    "template-new",
}
OWNERS_ONLY = {
    "invitation-withdraw",
    "member-hand-over",
    "member-remove",
    "member-role",
    "project-close",
    "project-secret-add",
    "project-secret-replace",
    "project-secret-revoke",
    "project-setup",
    "project-setup-step",
    "project-webhook-replay",
    "project-webhook-replay-range",
    "project-webhook-rotate",
}
ALLOWED = {
    (Role.SENDER, "GET"): SENDERS_READ,
    (Role.SENDER, "POST"): SENDERS_CHANGE,
    (Role.VIEWER, "GET"): VIEWERS_READ,
    (Role.VIEWER, "POST"): VIEWERS_CHANGE,
}
OF_PROJECTS = {
    name.partition(":")[2]
    for name, each in ROUTES.items()
    if "slug" in each.pattern.converters and str(each.pattern).startswith("console/")
}


@pytest.fixture
def colleague(world: World):
    found = known(Member(CHARLIE, [Browser().sign_in(CHARLIE)]))
    found.get("/settings")
    return found


def test_every_route_of_projects_is_in_a_table():
    tables = SENDERS_READ | SENDERS_CHANGE | OWNERS_ONLY
    assert tables == OF_PROJECTS


@pytest.mark.parametrize("role", [Role.SENDER, Role.VIEWER])
def test_members_do_what_their_role_includes_and_nothing_else(world, colleague, role):
    ProjectMember.objects.create(
        project=world.project, user=colleague.user, role=role, added_at=clock.now()
    )
    secret = world.project.secrets.get(pk=world.secret_pk)
    before = all_rows()
    for name in sorted(OF_PROJECTS):
        path = reverse(f"dashboard:{name}", kwargs=OBJECTS[f"dashboard:{name}"](world))
        requests = [("GET", {})]
        requests += [("POST", form) for form in forms_of(f"dashboard:{name}", world)]
        for method, form in requests:
            with undone(colleague.browser):
                sent = (
                    colleague.get(path)
                    if method == "GET"
                    else colleague.post(path, **form)
                )
                case = (role, name, method, form)
                if name in ALLOWED[role, method]:
                    assert sent.status_code in {200, 302, 422}, case
                    if not sent.streaming:
                        assert secret.prefix not in sent.text, case
                elif sent.status_code != 405:
                    assert sent.status_code == 403, case
                    assert f"a {role.label} of Lumen" in sent.text, case
                    assert touched(world.rows, before, all_rows()) == [], case


@pytest.mark.parametrize("role", [Role.SENDER, Role.VIEWER])
def test_pages_offer_no_form_that_the_role_may_not_submit(world, colleague, role):
    ProjectMember.objects.create(
        project=world.project, user=colleague.user, role=role, added_at=clock.now()
    )
    may = ALLOWED[role, "POST"]
    refused = [
        re.escape(
            reverse(f"dashboard:{name}", kwargs=OBJECTS[f"dashboard:{name}"](world))
        )
        for name in OF_PROJECTS - may - VIEWERS_READ
    ]
    action = re.compile(f'(?:action|formaction)="(?:{"|".join(refused)})"')
    for name in sorted(ALLOWED[role, "GET"] - {"project-document"}):
        path = reverse(f"dashboard:{name}", kwargs=OBJECTS[f"dashboard:{name}"](world))
        page = colleague.get(path)
        if page.streaming:
            continue
        assert action.findall(page.text) == [], (role, name)
        main = page.text.partition("<main")[2]
        if name not in may:
            posted = re.findall(r'<form[^>]*method="post"[^>]*>.*?</form>', main, re.S)
            own = [each for each in posted if "action=" not in each.partition(">")[0]]
            assert not any("<button" in each for each in own), (role, name)


def test_uploads_are_for_those_who_may_send(world, colleague):
    member = ProjectMember.objects.create(
        project=world.project,
        user=colleague.user,
        role=Role.VIEWER,
        added_at=clock.now(),
    )
    path, form = "/console/upload/accounts", {"project": world.project.slug}
    assert colleague.post(path, **form).status_code == 403
    member.role = Role.SENDER
    member.save()
    assert "Choose a file first" in colleague.post(path, **form).text


def test_a_member_sees_the_project_in_the_console_until_removed(world, colleague):
    assert "Lumen" not in colleague.get("/console").text
    member = ProjectMember.objects.create(
        project=world.project,
        user=colleague.user,
        role=Role.VIEWER,
        added_at=clock.now(),
    )
    shown = colleague.get("/console").text
    assert "Lumen" in shown
    assert "viewer" in shown
    slug = world.project.slug
    world.alice.get(f"/console/{slug}/members")
    world.alice.post(f"/console/{slug}/members/{member.pk}/remove")
    assert "Lumen" not in colleague.get("/console").text
    assert colleague.get(f"/console/{slug}").status_code == 404
    assert Project.objects.filter(pk=world.project.pk).exists()
