"""``/console``: a dapp owner makes projects, names types, keeps keys and secrets."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from castserver.services import projects
from castserver.services.documents import did_document, notify_config
from castserver.services.errors import CastError
from dashboard.access import MemberRequest, member
from dashboard.forms import DescribeForm, ProjectForm, TypesForm
from dashboard.frame import page
from dashboard.pages import console as pages
from dashboard.pages.snippets import readable, snippets_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from castserver.models import Project
    from dashboard.forms import StyledForm

SECTION = "console"


def of_project(
    *, owner_only: bool = True
) -> Callable[..., Callable[..., HttpResponse]]:
    """The view gets the project that the address names, if the person may see it."""

    def decorate(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @functools.wraps(view)
        def guarded(
            request: MemberRequest, slug: str, *args: Any, **kwargs: Any
        ) -> HttpResponse:
            project = pages.project_of(request.user, slug)
            if project is None:
                raise Http404
            if owner_only and not pages.is_owner(request.user, project):
                raise Http404
            return view(request, project, *args, **kwargs)

        return guarded

    return decorate


def project_page(
    request: MemberRequest,
    template: str,
    project: Project,
    *,
    tab: str,
    status: int = 200,
    **context: Any,
) -> HttpResponse:
    return page(
        request,
        template,
        section=SECTION,
        status=status,
        project=project,
        tab=tab,
        is_owner=pages.is_owner(request.user, project),
        **context,
    )


def say_why(form: StyledForm, error: CastError) -> None:
    """A service's refusal beside the field it is about, as far as the form has it."""
    name = error.field if error.field in form.fields else None
    form.add_error(name, f"{error.reason[:1].upper()}{error.reason[1:]}.")


@member
@require_safe
def console(request: MemberRequest) -> HttpResponse:
    cards = pages.project_cards(request.user)
    return page(request, "console", section=SECTION, cards=cards)


@member
@require_http_methods(["GET", "HEAD", "POST"])
def project_new(request: MemberRequest) -> HttpResponse:
    form = ProjectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        entered = form.cleaned_data
        try:
            project, secret = projects.create_project(
                entered["name"],
                url=entered["url"] or None,
                types=entered["types"],
                description=entered["description"],
                owner=request.user,
            )
        except CastError as error:
            say_why(form, error)
        else:
            return _keys_page(request, project, secret=secret, is_new=True)
    status = 422 if form.is_bound else 200
    return page(request, "project_new", section=SECTION, form=form, status=status)


@member
@require_safe
@of_project(owner_only=False)
def project(request: MemberRequest, project: Project) -> HttpResponse:
    return project_page(
        request, "project", project, tab="overview", overview=pages.overview(project)
    )


@member
@require_safe
@of_project()
def project_keys(request: MemberRequest, project: Project) -> HttpResponse:
    return _keys_page(request, project)


def _keys_page(
    request: MemberRequest,
    project: Project,
    *,
    secret: str = "",
    is_new: bool = False,
) -> HttpResponse:
    """A new secret is part of this one answer: it is kept as a digest only."""
    return project_page(
        request,
        "project_keys",
        project,
        tab="keys",
        secret=secret,
        is_new=is_new,
        secrets=list(project.secrets.order_by("-created_at")),
        snippets=snippets_for(project, secret),
    )


@member
@require_POST
@of_project()
def secret_add(request: MemberRequest, project: Project) -> HttpResponse:
    try:
        secret = projects.add_secret(project)
    except CastError as error:
        messages.error(request, f"{error.reason[:1].upper()}{error.reason[1:]}.")
        return _to(project, "project-keys")
    return _keys_page(request, project, secret=secret)


@member
@require_POST
@of_project()
def secret_revoke(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    try:
        projects.revoke_secret(project, pk)
    except CastError:
        raise Http404 from None
    messages.success(
        request, "The secret was revoked. Calls with it get 401 from now on."
    )
    return _to(project, "project-keys")


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project()
def project_types(request: MemberRequest, project: Project) -> HttpResponse:
    present = "\n".join(
        f"{each.name}: {each.description}" for each in project.types.all()
    )
    form = TypesForm(request.POST or None, initial={"types": present})
    if request.method == "POST" and form.is_valid():
        try:
            projects.set_types(project, form.cleaned_data["types"])
        except CastError as error:
            say_why(form, error)
        else:
            messages.success(request, "The types were saved.")
            return _to(project, "project-types")
    return project_page(
        request,
        "project_types",
        project,
        tab="types",
        form=form,
        status=422 if form.is_bound else 200,
    )


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project()
def project_settings(request: MemberRequest, project: Project) -> HttpResponse:
    initial = {
        "name": project.name,
        "description": project.description,
        "icon": project.icon,
    }
    form = DescribeForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            projects.describe(project, **form.cleaned_data)
        except CastError as error:
            say_why(form, error)
        else:
            messages.success(request, "The texts were saved.")
            return _to(project, "project-settings")
    return project_page(
        request,
        "project_settings",
        project,
        tab="settings",
        form=form,
        did_json=readable(did_document(project)),
        config_json=readable(notify_config(project, project.types.all())),
        status=422 if form.is_bound else 200,
    )


@member
@require_safe
@of_project(owner_only=False)
def project_subscribers(request: MemberRequest, project: Project) -> HttpResponse:
    # The demo dapp belongs to everybody: each sees only what is his own.
    only = (
        None
        if pages.is_owner(request.user, project)
        else pages.own_subscribed(request.user, project)
    )
    return project_page(
        request,
        "project_subscribers",
        project,
        tab="subscribers",
        subscribers=pages.subscribers(project, only),
        is_partial=only is not None,
    )


def _to(project: Project, name: str) -> HttpResponseRedirect:
    return HttpResponseRedirect(reverse(f"dashboard:{name}", args=[project.slug]))
