"""``/console``: projects of dapp owners, their types, keys, secrets and settings."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.timezone import localtime
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts.models import Account
from castserver.models import Project, SecretScope
from castserver.services.errors import CastError
from castserver.services.projects import projects
from castserver.services.projects.closing import close_project
from castserver.services.projects.documents import did_document
from castserver.services.projects.members import Right, rights_of, role_of
from common.problems import RoleForbids
from dashboard.access import MemberRequest, member, or_404, require_recent_signature
from dashboard.formatting import format_time
from dashboard.forms import DescribeForm, ProjectForm, TypesForm
from dashboard.frame import page
from dashboard.pages import console as pages
from dashboard.pages.limits import meters_of
from dashboard.pages.qr import subscribe_link
from dashboard.pages.snippets import snippets_for
from dashboard.pages.subscribers import (
    SubscriberFilter,
    numbers_by_day,
    subscriber_page,
    subscribers_csv,
)
from dashboard.reasons import sentence
from dashboard.submissions import (
    Created,
    find,
    forget_secret,
    form_token,
    result_of,
    submit_once,
)
from dashboard.views.responses import confirmation, download
from subscriptions.services import WantedIcon, want_icons

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from dashboard.forms import StyledForm

SECTION = "console"
NEW_PROJECT = "project"


class ProjectRequest(MemberRequest):
    """A request that ``project_for`` has let pass."""

    rights: frozenset[Right]
    # Whether the user may submit the forms of the page, too.
    may_change: bool


def project_for(request: ProjectRequest, slug: str, may: Right) -> Project:
    """The project, if the user has this right in it. All pages of projects ask here.

    Without any role it is not found: the response must not reveal that it exists.
    """
    project = (
        Project.objects.filter(slug=slug)
        .select_related("owner", "address_check")
        .first()
    )
    rights = rights_of(request.user, project) if project else frozenset()
    if project is None or Right.VISIT not in rights:
        raise Http404
    request.rights = rights
    request.may_change = may in rights
    if may not in rights:
        role = role_of(request.user, project)
        if role is None:
            # A guest of the demo dapp.
            raise Http404
        raise RoleForbids(
            gettext(
                "You are a %(role)s of %(project)s, which does not include this. An owner "
                "of the project can change your role."
            )
            % {"role": role.label, "project": project.name}
        )
    return project


def of_project(
    may: Right, *, change: Right | None = None
) -> Callable[..., Callable[..., HttpResponse]]:
    """Passes the project named in the URL to the view, for users with this right.

    ``change`` is the right that a POST needs, if it needs another one. The page then
    shows its forms only to those who have it.
    """

    def decorate(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @functools.wraps(view)
        def guarded(
            request: ProjectRequest, slug: str, *args: Any, **kwargs: Any
        ) -> HttpResponse:
            needed = change if change and request.method == "POST" else may
            project = project_for(request, slug, needed)
            request.may_change = (change or may) in request.rights
            return view(request, project, *args, **kwargs)

        guarded.rights = (may, change or may)  # type: ignore[attr-defined]
        return guarded

    return decorate


def project_page(
    request: ProjectRequest,
    template: str,
    project: Project,
    *,
    tab: str,
    status: int = 200,
    **context: Any,
) -> HttpResponse:
    form = context.get("form")
    if form is not None and not request.may_change:
        for field in form.fields.values():
            field.disabled = True
    if form is not None and form.is_bound and form.errors:
        status = 422
    return page(
        request,
        template,
        section=SECTION,
        status=status,
        project=project,
        tab=tab,
        can={right.value: right in request.rights for right in Right},
        may_change=request.may_change,
        icon=pages.icon_of(project),
        type_names=dict(project.types.values_list("type_id", "name")),
        **context,
    )


@contextlib.contextmanager
def errors_in_form(form: StyledForm) -> Iterator[None]:
    """Show a service's error at its field, or above the form if it has no such field."""
    try:
        yield
    except CastError as error:
        name = error.field if error.field in form.fields else None
        form.add_error(name, sentence(error))


@contextlib.contextmanager
def errors_as_message(request: MemberRequest) -> Iterator[None]:
    """Show a service's error on the next page."""
    try:
        yield
    except CastError as error:
        messages.error(request, sentence(error))


@member
@require_safe
def console(request: MemberRequest) -> HttpResponse:
    cards = pages.project_cards(request.user)
    return page(request, "console", section=SECTION, cards=cards)


@member
@require_http_methods(["GET", "HEAD", "POST"])
def project_new(request: MemberRequest) -> HttpResponse:
    """The first step of the wizard; with types it creates the whole project at once."""
    form = ProjectForm(request.POST or None)

    def create() -> Created:
        entered = form.cleaned_data
        project, secret = projects.create_project(
            entered["name"],
            url=entered["url"] or None,
            types=entered["types"],
            description=entered["description"],
            owner=request.user,
            setup_step="" if entered["types"] else "domain",
        )
        name = "project-keys" if entered["types"] else "project-setup"
        return Created(reverse(f"dashboard:{name}", args=[project.slug]), secret)

    if request.method == "POST" and form.is_valid():
        with errors_in_form(form):
            sent = submit_once(request, NEW_PROJECT, create)
            return HttpResponseRedirect(sent.location)
    return page(
        request,
        "project_new",
        section=SECTION,
        form=form,
        once=form_token(request.device, NEW_PROJECT),
        status=422 if form.is_bound else 200,
    )


@member
@require_safe
@of_project(Right.VISIT)
def project(request: ProjectRequest, project: Project) -> HttpResponse:
    return project_page(
        request,
        "project",
        project,
        tab="overview",
        overview=pages.overview(project),
        meters=meters_of(project) if Right.VIEW in request.rights else None,
        subscribe_link=subscribe_link(project.url),
    )


@member
@require_safe
@of_project(Right.VIEW)
def project_keys(request: ProjectRequest, project: Project) -> HttpResponse:
    """Keys, API secrets, and for ten minutes the secret that was just created."""
    form = _secret_form(project)
    may_manage = Right.MANAGE in request.rights
    result = result_of(request) if may_manage else None
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
        secrets=list(project.secrets.order_by("-created_at")) if may_manage else [],
        scopes=SecretScope.choices,
        snippets=snippets_for(project, secret),
    )


def _secret_form(project: Project) -> str:
    return f"secret:{project.pk}"


@member
@require_POST
@of_project(Right.MANAGE)
@require_recent_signature(_("Making an API secret"), back="project-keys")
def secret_add(request: ProjectRequest, project: Project) -> HttpResponse:
    keys = reverse("dashboard:project-keys", args=[project.slug])
    is_limited = request.POST.get("access") == "some"
    scopes = request.POST.getlist("scope") if is_limited else list(SecretScope)
    name = request.POST.get("name", "")
    return _show_secret_once(
        request,
        project,
        lambda: Created(keys, projects.add_secret(project, name=name, scopes=scopes)),
    )


@member
@require_POST
@of_project(Right.MANAGE)
@require_recent_signature(_("Replacing an API secret"), back="project-keys")
def secret_replace(request: ProjectRequest, project: Project, pk: int) -> HttpResponse:
    keys = reverse("dashboard:project-keys", args=[project.slug])
    return _show_secret_once(
        request, project, lambda: Created(keys, projects.replace_secret(project, pk))
    )


def _show_secret_once(
    request: MemberRequest, project: Project, create: Callable[[], Created]
) -> HttpResponse:
    there = reverse("dashboard:project-keys", args=[project.slug])
    with errors_as_message(request):
        there = submit_once(request, _secret_form(project), create).location
    return HttpResponseRedirect(there)


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.MANAGE)
def secret_revoke(request: ProjectRequest, project: Project, pk: int) -> HttpResponse:
    keys = reverse("dashboard:project-keys", args=[project.slug])
    found = get_object_or_404(project.secrets.active(), pk=pk)
    if request.method != "POST":
        return confirmation(
            request,
            SECTION,
            title=gettext("Revoke the secret %(prefix)s…?") % {"prefix": found.prefix},
            button=gettext("Revoke the secret"),
            cancel=keys,
            effects=(
                gettext("Calls with it get 401 from now on."),
                gettext("It was last used on %(time)s.")
                % {"time": format_time(localtime(found.last_used_at), "full")}
                if found.last_used_at
                else gettext("It was never used."),
                gettext(
                    "This cannot be undone. To rotate without downtime, replace "
                    "the secret instead: the old one then stays valid for a day."
                ),
            ),
        )
    try:
        projects.revoke_secret(project, pk)
    except CastError:
        raise Http404 from None
    messages.success(
        request,
        gettext("The secret was revoked. Calls with it get 401 from now on."),
    )
    return HttpResponseRedirect(keys)


@member
@require_POST
def secret_stored(request: MemberRequest, submission_id: UUID) -> HttpResponse:
    """Forget a secret early: the user confirms to have stored it."""
    found = or_404(find(request, str(submission_id)))
    forget_secret(found)
    return HttpResponseRedirect(found.location.partition("?")[0])


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.MANAGE)
@require_recent_signature(_("Closing a project"))
def project_close(request: ProjectRequest, project: Project) -> HttpResponse:
    if request.POST.get("confirm") != "yes":
        return confirmation(
            request,
            SECTION,
            title=gettext("Close %(name)s?") % {"name": project.name},
            button=gettext("Close the project"),
            cancel=reverse("dashboard:project-settings", args=[project.slug]),
            effects=(
                ngettext(
                    "%(count)d subscribed account is unsubscribed; its wallets are notified.",
                    "%(count)d subscribed accounts are unsubscribed; their wallets are notified.",
                    count := pages.subscriber_count(project),
                )
                % {"count": count},
                gettext(
                    "Its keys, secrets, webhooks, types and sent notifications are deleted "
                    "from this server."
                ),
                gettext(
                    "This cannot be undone: a new project of the same name has other keys, "
                    "and all users have to subscribe again."
                ),
            ),
            tick=gettext("Close %(name)s and delete all its data")
            % {"name": project.name},
        )
    name = project.name
    close_project(project)
    messages.success(
        request,
        gettext("%(name)s was closed. Its subscribers are being notified.")
        % {"name": name},
    )
    return redirect("dashboard:console")


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.VIEW, change=Right.MANAGE)
def project_types(request: ProjectRequest, project: Project) -> HttpResponse:
    present = "\n".join(
        str(projects.TypeDraft.of(each)) for each in project.types.all()
    )
    form = TypesForm(request.POST or None, initial={"types": present})
    if request.method == "POST" and form.is_valid():
        with errors_in_form(form):
            projects.set_types(project, form.cleaned_data["types"])
            messages.success(request, gettext("The types were saved."))
            return HttpResponseRedirect(request.path)
    return project_page(
        request,
        "project_types",
        project,
        tab="types",
        form=form,
    )


def describe_project(
    request: MemberRequest, project: Project
) -> tuple[DescribeForm, bool]:
    """The form of the project's texts, and whether it was sent and saved."""
    initial = {
        "name": project.name,
        "description": project.description,
        "icon": project.icon,
    }
    form = DescribeForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        with errors_in_form(form):
            with transaction.atomic():
                projects.describe(project, **form.cleaned_data)
                # The console shows it before the first subscriber's device wants it.
                for account in Account.objects.filter(user=request.user)[:1]:
                    want_icons([WantedIcon(project.icon, project.url, account.pk)])
            return form, True
    return form, False


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.VIEW, change=Right.MANAGE)
def project_settings(request: ProjectRequest, project: Project) -> HttpResponse:
    form, is_saved = describe_project(request, project)
    if is_saved:
        messages.success(request, gettext("The texts were saved."))
        return HttpResponseRedirect(request.path)
    return project_page(
        request,
        "project_settings",
        project,
        tab="settings",
        form=form,
        did=did_document(project)["id"],
    )


@member
@require_safe
@of_project(Right.VISIT)
def project_subscribers(request: ProjectRequest, project: Project) -> HttpResponse:
    # The demo dapp is shared by all users: each sees only their own subscribers.
    sees_all = Right.VIEW in request.rights
    only = None if sees_all else pages.own_accounts(request.user)
    wanted = SubscriberFilter.parse(request.GET)
    names = dict(project.types.values_list("type_id", "name"))
    return project_page(
        request,
        "project_subscribers",
        project,
        tab="subscribers",
        found=subscriber_page(project, wanted, only),
        numbers=numbers_by_day(project, names) if sees_all else None,
        is_partial=only is not None,
    )


@member
@require_safe
@of_project(Right.VIEW)
def project_subscribers_csv(request: ProjectRequest, project: Project) -> HttpResponse:
    wanted = replace(SubscriberFilter.parse(request.GET), before=None)
    return download(
        request,
        subscribers_csv(project, wanted),
        name=f"subscribers-{project.slug}.csv",
        content_type="text/csv; charset=utf-8",
    )
