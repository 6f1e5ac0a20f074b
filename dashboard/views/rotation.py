"""Replacing a dapp's keys in the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.shortcuts import redirect
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from castserver.services.projects import rotation
from castserver.services.projects.address_proof import ask_check
from castserver.services.projects.members import Right
from dashboard.access import member, require_recent_signature
from dashboard.pages import console as pages
from dashboard.pages.rotation import rotation_of
from dashboard.views.console import (
    ProjectRequest,
    errors_as_message,
    of_project,
    project_page,
)

if TYPE_CHECKING:
    from django.http import HttpResponse

    from castserver.models import Project


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.VIEW, change=Right.MANAGE)
def project_rotation(request: ProjectRequest, project: Project) -> HttpResponse:
    """What replacing does and where it stands; ``act``: begin, cancel or end."""
    if request.method == "POST":
        return _act(request, project)
    return project_page(
        request,
        "project_rotation",
        project,
        tab="keys",
        state=rotation_of(project),
        subscribers=pages.subscriber_count(project),
    )


@require_recent_signature(_("Replacing keys"))
def _act(request: ProjectRequest, project: Project) -> HttpResponse:
    act = request.POST.get("act", "")
    with errors_as_message(request):
        if act == "begin":
            if rotation.begin_rotation(project, by=request.user) is None:
                text = gettext("The keys were replaced. All subscriptions continue.")
            else:
                ask_check(project)
                text = gettext(
                    "New keys were made. Publish the new did.json; they are used as soon "
                    "as it is seen on the domain."
                )
            messages.success(request, text)
        elif act == "cancel":
            rotation.cancel_rotation(project, by=request.user)
            text = gettext(
                "The present keys stay. If the domain serves the new did.json already, "
                "publish the one on this page: inboxes return to the present keys by themselves."
            )
            messages.success(request, text)
        elif act == "end":
            rotation.end_overlap(project, by=request.user)
            messages.success(
                request, gettext("The previous keys are no longer accepted.")
            )
    return redirect("dashboard:project-rotation", project.slug)
