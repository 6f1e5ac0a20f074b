"""``/console``: a dapp owner makes projects, names types, keeps keys and secrets."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.timezone import localtime
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from castserver.services.errors import CastError
from castserver.services.projects import projects
from castserver.services.projects.closing import close_project
from castserver.services.projects.documents import did_document, notify_config
from dashboard.access import MemberRequest, fresh, member
from dashboard.forms import DescribeForm, ProjectForm, TypesForm
from dashboard.frame import page
from dashboard.pages import console as pages
from dashboard.pages.snippets import readable, snippets_for
from dashboard.submissions import (
    Created,
    find,
    forget_secret,
    form_token,
    result_of,
    submit_once,
)
from dashboard.views.responses import Confirmation, confirmation

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from castserver.models import Project
    from dashboard.forms import StyledForm

SECTION = "console"
NEW_PROJECT = "project"


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
        type_names=dict(project.types.values_list("type_id", "name")),
        **context,
    )


def explain_refusal(form: StyledForm, error: CastError) -> None:
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
        try:
            sent = submit_once(request, NEW_PROJECT, lambda: _create(request, form))
        except CastError as error:
            explain_refusal(form, error)
        else:
            return HttpResponseRedirect(sent.location)
    return page(
        request,
        "project_new",
        section=SECTION,
        form=form,
        once=form_token(request.device, NEW_PROJECT),
        status=422 if form.is_bound else 200,
    )


def _create(request: MemberRequest, form: ProjectForm) -> Created:
    entered = form.cleaned_data
    project, secret = projects.create_project(
        entered["name"],
        url=entered["url"] or None,
        types=entered["types"],
        description=entered["description"],
        owner=request.user,
    )
    return Created(reverse("dashboard:project-keys", args=[project.slug]), secret)


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
    """The keys; after a form that made a secret, the secret as well, for ten minutes."""
    form = _secret_form(project)
    result = result_of(request)
    if result and result.submission.form not in (NEW_PROJECT, form):
        result = None
    secret = result.secret if result else ""
    return project_page(
        request,
        "project_keys",
        project,
        tab="keys",
        result=result,
        secret=secret,
        is_new=result is not None and result.submission.form == NEW_PROJECT,
        once=form_token(request.device, form),
        secrets=list(project.secrets.order_by("-created_at")),
        snippets=snippets_for(project, secret),
    )


def _secret_form(project: Project) -> str:
    return f"secret:{project.pk}"


@member
@require_POST
@of_project()
@fresh("Making an API secret", back="project-keys")
def secret_add(request: MemberRequest, project: Project) -> HttpResponse:
    keys = reverse("dashboard:project-keys", args=[project.slug])
    try:
        sent = submit_once(
            request,
            _secret_form(project),
            lambda: Created(keys, projects.add_secret(project)),
        )
    except CastError as error:
        messages.error(request, f"{error.reason[:1].upper()}{error.reason[1:]}.")
        return HttpResponseRedirect(keys)
    return HttpResponseRedirect(sent.location)


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project()
def secret_revoke(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    keys = reverse("dashboard:project-keys", args=[project.slug])
    found = project.secrets.filter(pk=pk, revoked_at=None).first()
    if found is None:
        raise Http404
    if request.method != "POST":
        return confirmation(
            request,
            SECTION,
            Confirmation(
                title=f"Revoke the secret {found.prefix}…?",
                button="Revoke the secret",
                cancel=keys,
                effects=(
                    "Calls with it get 401 from now on.",
                    f"It was last used {localtime(found.last_used_at):%-d %B %Y, %H:%M}."
                    if found.last_used_at
                    else "It was never used.",
                    "This cannot be undone. To rotate without an interruption, make "
                    "another secret and move your server to it first.",
                ),
            ),
        )
    try:
        projects.revoke_secret(project, pk)
    except CastError:
        raise Http404 from None
    messages.success(
        request, "The secret was revoked. Calls with it get 401 from now on."
    )
    return HttpResponseRedirect(keys)


@member
@require_POST
def secret_stored(request: MemberRequest, submission_id: UUID) -> HttpResponse:
    """The person has stored the secret that a form made: it is not shown again."""
    found = find(request, str(submission_id))
    if found is None:
        raise Http404
    forget_secret(found)
    return HttpResponseRedirect(found.location.partition("?")[0])


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project()
@fresh("Closing a project")
def project_close(request: MemberRequest, project: Project) -> HttpResponse:
    asked = Confirmation(
        title=f"Close {project.name}?",
        button="Close the project",
        cancel=reverse("dashboard:project-settings", args=[project.slug]),
        effects=(
            f"{pages.subscriber_count(project)} subscribed accounts are unsubscribed; "
            "their wallets are told that the dapp was closed.",
            "Its keys, secrets, webhooks, types and everything that was sent are "
            "deleted from this server.",
            "This cannot be undone: a new project of the same name has other keys, and "
            "everybody has to subscribe again.",
        ),
        tick=f"Close {project.name} and delete everything of it",
    )
    if request.method != "POST":
        return confirmation(request, SECTION, asked)
    if request.POST.get("confirm") != "yes":
        asked = replace(asked, problem="Tick the box to confirm that everything goes.")
        return confirmation(request, SECTION, asked, status=422)
    name = project.name
    close_project(project)
    messages.success(request, f"{name} was closed. Its subscribers are being told.")
    return HttpResponseRedirect(reverse("dashboard:console"))


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project()
def project_types(request: MemberRequest, project: Project) -> HttpResponse:
    present = "\n".join(
        str(projects.TypeDraft.of(each)) for each in project.types.all()
    )
    form = TypesForm(request.POST or None, initial={"types": present})
    if request.method == "POST" and form.is_valid():
        try:
            projects.set_types(project, form.cleaned_data["types"])
        except CastError as error:
            explain_refusal(form, error)
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
            explain_refusal(form, error)
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
