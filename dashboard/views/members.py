"""Members of a project: the list, invitations, roles, leaving and handing over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
)

from castserver.models import Project, Role
from castserver.services.errors import CastError, Ended, Missing
from castserver.services.projects import members as services
from castserver.services.projects.members import Right
from common import limits
from dashboard.access import MemberRequest, member, or_404
from dashboard.forms import InviteForm
from dashboard.frame import page
from dashboard.pages import members as pages
from dashboard.reasons import sentence
from dashboard.submissions import Created, form_token, result_of, submit_once
from dashboard.views.console import (
    SECTION,
    ProjectRequest,
    errors_as_message,
    errors_in_form,
    of_project,
    project_page,
)
from dashboard.views.responses import confirmation

if TYPE_CHECKING:
    from uuid import UUID

TAB = "members"


def _here(project: Project) -> str:
    return reverse("dashboard:project-members", args=[project.slug])


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.VIEW, change=Right.MANAGE)
def project_members(request: ProjectRequest, project: Project) -> HttpResponse:
    """The members; a POST makes an invitation, whose link is shown once."""
    form = InviteForm(request.POST or None)
    name = f"invitation:{project.pk}"
    if request.method == "POST" and form.is_valid() and _may_invite(request, form):
        entered = form.cleaned_data

        def create() -> Created:
            _, token = services.invite(
                project,
                by=request.user,
                role=entered["role"],
                days=entered["days"],
                label=entered["label"],
            )
            return Created(request.path, pages.invitation_link(token))

        with errors_in_form(form):
            sent = submit_once(request, name, create)
            return HttpResponseRedirect(sent.location)
    return project_page(
        request,
        "project_members",
        project,
        tab=TAB,
        form=form,
        once=form_token(request.device, name),
        result=result_of(request, name) if request.may_change else None,
        roles=Role.choices,
        role_texts=[(role.label, text) for role, text in pages.INCLUDES.items()],
        found=pages.member_list(project, request.user),
    )


def _may_invite(request: ProjectRequest, form: InviteForm) -> bool:
    verdict = limits.consume("project_invite", f"user:{request.user.pk}")
    if not verdict.allowed:
        form.add_error(
            None,
            gettext("Too many invitations; try again in %(seconds)d seconds.")
            % {"seconds": verdict.retry_after},
        )
    return verdict.allowed


@member
@require_POST
@of_project(Right.MANAGE)
def invitation_withdraw(
    request: ProjectRequest, project: Project, invitation_id: UUID
) -> HttpResponse:
    try:
        services.withdraw(project, invitation_id, by=request.user)
    except CastError:
        raise Http404 from None
    messages.success(
        request, gettext("The invitation was withdrawn; its link is void.")
    )
    return HttpResponseRedirect(_here(project))


@member
@require_POST
@of_project(Right.MANAGE)
def member_role(request: ProjectRequest, project: Project, pk: int) -> HttpResponse:
    or_404(pages.member_of(project, pk))
    with errors_as_message(request):
        changed = services.set_role(
            project, pk, request.POST.get("role", ""), by=request.user
        )
        messages.success(
            request,
            gettext("The member is now: %(role)s.")
            % {"role": Role(changed.role).label},
        )
    return HttpResponseRedirect(_here(project))


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.MANAGE)
def member_remove(request: ProjectRequest, project: Project, pk: int) -> HttpResponse:
    found = or_404(pages.member_of(project, pk))
    if request.method != "POST":
        return confirmation(
            request,
            SECTION,
            title=gettext("Remove %(name)s from %(project)s?")
            % {"name": found.name, "project": project.name},
            button=gettext("Remove the member"),
            cancel=_here(project),
            effects=(
                gettext("This person can no longer see the project in the console."),
                gettext(
                    "API secrets and webhooks stay as they are. Revoke a secret that "
                    "this person knows."
                ),
                gettext("What this person has scheduled is still sent."),
            ),
        )
    services.remove(project, pk, by=request.user)
    messages.success(request, gettext("The member was removed."))
    return HttpResponseRedirect(_here(project))


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.MANAGE)
def member_hand_over(
    request: ProjectRequest, project: Project, pk: int
) -> HttpResponse:
    found = or_404(pages.member_of(project, pk))
    if request.method != "POST":
        return confirmation(
            request,
            SECTION,
            title=gettext("Hand %(project)s over to %(name)s?")
            % {"name": found.name, "project": project.name},
            button=gettext("Hand it over"),
            cancel=_here(project),
            effects=(
                gettext(
                    "%(name)s becomes the main owner: the project counts for their "
                    "limits, and mails about it go to them."
                )
                % {"name": found.name},
                gettext("You stay an owner, and the main owner can remove you."),
                gettext("Only the new main owner can hand it back."),
            ),
        )
    with errors_as_message(request):
        services.hand_over(project, pk, by=request.user)
        messages.success(request, gettext("The project was handed over."))
    return HttpResponseRedirect(_here(project))


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.VIEW)
def project_leave(request: ProjectRequest, project: Project) -> HttpResponse:
    if request.method != "POST":
        return confirmation(
            request,
            SECTION,
            title=gettext("Leave %(project)s?") % {"project": project.name},
            button=gettext("Leave the project"),
            cancel=_here(project),
            effects=(
                gettext("You can no longer see it in the console."),
                gettext("To come back you need another invitation."),
            ),
        )
    there = _here(project)
    with errors_as_message(request):
        services.leave(project, request.user)
        messages.success(
            request, gettext("You left %(project)s.") % {"project": project.name}
        )
        there = reverse("dashboard:console")
    return HttpResponseRedirect(there)


# --- the link of an invitation ----------------------------------------------------------


@member
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: MemberRequest, token: str) -> HttpResponse:
    """Who invites to what as what. Only the POST uses it up: mail scanners open links."""
    try:
        found = services.find_invitation(token)
    except Missing as error:
        return _invitation_page(request, problem=sentence(error), status=404)
    project = found.project
    there = reverse("dashboard:project", args=[project.slug])
    own_role = services.role_of(request.user, project)
    try:
        services.require_open(found)
        if request.method == "POST":
            services.accept(found, request.user)
            messages.success(
                request,
                gettext("You are now a member of %(project)s: %(role)s.")
                % {"project": project.name, "role": Role(found.role).label},
            )
            return HttpResponseRedirect(there)
    except CastError as error:
        return _invitation_page(
            request,
            problem=sentence(error),
            project_url=there if own_role else "",
            status=410 if isinstance(error, Ended) else 409,
        )
    return _invitation_page(
        request,
        invitation=found,
        inviter=pages.address_of(found.invited_by),
        role=Role(found.role).label,
        includes=pages.INCLUDES[Role(found.role)],
        own_role=own_role.label if own_role else "",
        project_url=there if own_role else "",
    )


def _invitation_page(
    request: MemberRequest, *, status: int = 200, **context: Any
) -> HttpResponse:
    return page(request, "invitation", section=SECTION, status=status, **context)
