"""What the console stores for sending: templates and the welcome notification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_safe

from castserver.services.errors import CastError
from castserver.services.notifications import templates
from castserver.services.notifications.welcome import set_welcome, welcome_of
from castserver.services.projects.members import Right
from dashboard.access import member
from dashboard.forms import TemplateForm, WelcomeForm
from dashboard.views.console import (
    ProjectRequest,
    errors_in_form,
    of_project,
    project_page,
)
from walletconnect.notify.values import CONTENT_FIELDS

if TYPE_CHECKING:
    from uuid import UUID

    from castserver.models import MessageTemplate, Project

TAB = "send"


@member
@require_safe
@of_project(Right.VIEW, change=Right.SEND)
def project_templates(request: ProjectRequest, project: Project) -> HttpResponse:
    found = list(project.templates.order_by("name"))
    return project_page(
        request,
        "project_templates",
        project,
        tab=TAB,
        part="templates",
        templates=[
            (each, templates.variables_of(templates.message_of(each))) for each in found
        ],
        most=settings.LIMITS.templates_per_project,
    )


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.SEND)
def template_new(request: ProjectRequest, project: Project) -> HttpResponse:
    return _template_form(request, project, None)


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.VIEW, change=Right.SEND)
def template_edit(
    request: ProjectRequest, project: Project, template_id: UUID
) -> HttpResponse:
    try:
        template = templates.template_of(project, template_id)
    except CastError:
        raise Http404 from None
    return _template_form(request, project, template)


def _template_form(
    request: ProjectRequest, project: Project, template: MessageTemplate | None
) -> HttpResponse:
    there = reverse("dashboard:project-templates", args=[project.slug])
    if template is not None and request.POST.get("act") == "delete":
        template.delete()
        messages.success(request, gettext("The template was deleted."))
        return HttpResponseRedirect(there)
    form = TemplateForm(
        request.POST or None,
        types=[(each.type_id, each.name) for each in project.types.all()],
        initial={name: getattr(template, name) for name in ("name", *CONTENT_FIELDS)}
        if template
        else {},
    )
    if request.method == "POST" and form.is_valid():
        with errors_in_form(form):
            templates.save_template(
                project, form.cleaned_data["name"], form.content(), template=template
            )
            messages.success(request, gettext("The template was saved."))
            return HttpResponseRedirect(there)
    return project_page(
        request,
        "project_template",
        project,
        tab=TAB,
        part="templates",
        form=form,
        chosen=template,
    )


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.VIEW, change=Right.SEND)
def project_welcome(request: ProjectRequest, project: Project) -> HttpResponse:
    """The notification that every new subscriber gets once."""
    welcome = welcome_of(project)
    form = WelcomeForm(
        request.POST or None,
        types=[(each.type_id, each.name) for each in project.types.all()],
        initial={
            "enabled": welcome.enabled,
            "type": welcome.type,
            "title": welcome.title,
            "body": welcome.body,
            "url": welcome.url,
        }
        if welcome
        else {"url": project.url},
    )
    if request.method == "POST" and form.is_valid():
        with errors_in_form(form):
            set_welcome(project, form.content(), enabled=form.cleaned_data["enabled"])
            messages.success(
                request,
                gettext("Every new subscriber gets it from now on.")
                if form.cleaned_data["enabled"]
                else gettext("It was saved. It is off."),
            )
            return HttpResponseRedirect(request.path)
    return project_page(
        request,
        "project_welcome",
        project,
        tab=TAB,
        part="welcome",
        form=form,
    )
