"""A project's domain, and the wizard that sets a project up step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_safe

from alerts.services import digest, domain_mails
from castserver.models import Project
from castserver.services.errors import TooMany
from castserver.services.projects import projects
from castserver.services.projects.address_proof import ask_check
from castserver.services.projects.documents import (
    did_document_to_publish,
    notify_config,
)
from castserver.services.projects.members import Right, lock_project
from castserver.services.projects.rotation import use_keys_if_hosted
from common import limits
from common.clients import rate_key
from dashboard.access import member
from dashboard.forms import DomainForm, TypesForm
from dashboard.pages.domain import address_status
from dashboard.pages.snippets import readable
from dashboard.reasons import translate_reason
from dashboard.submissions import Created, submit_once
from dashboard.views.console import (
    NEW_PROJECT,
    ProjectRequest,
    describe_project,
    errors_as_message,
    errors_in_form,
    of_project,
    project_page,
)

if TYPE_CHECKING:
    from typing import Any

    from django_stubs_ext import StrPromise

STEPS: dict[str, StrPromise] = {
    "texts": _("Name"),
    "domain": _("Domain"),
    "types": _("Types"),
    "keys": _("Keys"),
}


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.VIEW, change=Right.MANAGE)
def project_domain(request: ProjectRequest, project: Project) -> HttpResponse:
    """``act``: check (now), save an address or host (the documents here), or mail."""
    if request.method == "POST" and request.POST.get("act") == "mail":
        return _confirm_mail_address(request, project)
    form = DomainForm(request.POST or None, initial=_domain_initial(project))
    if request.method == "POST":
        if request.POST.get("act") == "check":
            _check_now(request, project)
            return HttpResponseRedirect(request.path)
        if form.is_valid() and _save_domain(form, project):
            messages.success(request, gettext("The address was saved."))
            return HttpResponseRedirect(request.path)
    return project_page(
        request,
        "project_domain",
        project,
        tab="domain",
        form=form,
        mails=domain_mails.owner_address(project),
        is_main_owner=project.owner_id == request.user.pk,
        has_mail=domain_mails.is_available(),
        **_documents(project),
    )


@member
@require_safe
@of_project(Right.VIEW)
def project_document(
    request: ProjectRequest, project: Project, name: str
) -> HttpResponse:
    """One of the two documents, to download."""
    texts = {each: text for each, _, text in _files(project)}
    if name not in texts:
        raise Http404
    return HttpResponse(
        texts[name],
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _documents(project: Project) -> dict[str, Any]:
    return {"status_of": address_status(project), "files": _files(project)}


def _files(project: Project) -> list[tuple[str, str, str]]:
    """Name, address and text of the two documents."""
    documents = {
        "did.json": did_document_to_publish(project),
        "wc-notify-config.json": notify_config(project, project.types.all()),
    }
    return [
        (name, f"{project.url}/.well-known/{name}", readable(value))
        for name, value in documents.items()
    ]


def _domain_initial(project: Project) -> dict[str, str]:
    if project.is_hosted:
        return {"place": "host", "url": ""}
    return {"place": "own", "url": project.url}


def _save_domain(form: DomainForm, project: Project) -> bool:
    with errors_in_form(form):
        if form.cleaned_data["place"] == "host":
            projects.set_hosted(project)
            use_keys_if_hosted(project)
        else:
            changed = projects.set_url(project, form.cleaned_data["url"])
            ask_check(changed)
    return form.is_valid()


def _confirm_mail_address(request: ProjectRequest, project: Project) -> HttpResponse:
    """The person's own address; it is used while they are the main owner."""
    try:
        row = digest.save_address(
            request.user, email=request.POST.get("email", ""), client=rate_key(request)
        )
    except digest.DigestError as error:
        text = gettext("Not saved: %(reason)s.")
        messages.error(request, text % {"reason": translate_reason(error)})
    else:
        if row.confirmed_at is None:
            text = gettext("Open the link in the mail to %(email)s.")
        else:
            text = gettext("The address %(email)s is confirmed.")
        messages.success(request, text % {"email": row.email})
    return redirect("dashboard:project-domain", project.slug)


def _check_now(request: ProjectRequest, project: Project) -> None:
    if project.is_hosted:
        return
    verdict = limits.consume("domain_check", f"user:{request.user.pk}")
    with errors_as_message(request):
        if not verdict.allowed:
            raise TooMany(
                f"too many checks; try again in {verdict.retry_after} seconds"
            )
        ask_check(project)


# --- the wizard -------------------------------------------------------------------------


@member
@require_safe
@of_project(Right.MANAGE)
def setup(request: ProjectRequest, project: Project) -> HttpResponse:
    """The step at which the owner left."""
    if not project.setup_step:
        return redirect("dashboard:project", project.slug)
    return HttpResponseRedirect(_step_url(project, project.setup_step))


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.MANAGE)
def setup_step(request: ProjectRequest, project: Project, step: str) -> HttpResponse:
    """A step of the wizard. Each is saved by itself, and may be returned to."""
    if step not in STEPS:
        raise Http404
    is_second_click = step == "keys" and request.method == "POST"
    if not project.setup_step and not is_second_click:
        return redirect("dashboard:project", project.slug)
    save = {
        "texts": _texts_step,
        "domain": _domain_step,
        "types": _types_step,
        "keys": _keys_step,
    }[step]
    return save(request, project)


def _step_url(project: Project, step: str) -> str:
    return reverse("dashboard:project-setup-step", args=[project.slug, step])


def _go_on(project: Project, done: str) -> HttpResponse:
    """To the step behind ``done``; the furthest one reached is remembered."""
    names = list(STEPS)
    following = names[names.index(done) + 1]
    if names.index(following) > names.index(project.setup_step):
        Project.objects.filter(pk=project.pk).update(setup_step=following)
    return HttpResponseRedirect(_step_url(project, following))


def _step_page(
    request: ProjectRequest, project: Project, step: str, **context: Any
) -> HttpResponse:
    names = list(STEPS)
    reached = names.index(project.setup_step)
    return project_page(
        request,
        "project_setup",
        project,
        tab="setup",
        step=step,
        steps=[
            {
                "name": name,
                "label": label,
                "is_done": place < reached,
                "is_open": place <= reached,
                "number": place + 1,
            }
            for place, (name, label) in enumerate(STEPS.items())
        ],
        **context,
    )


def _texts_step(request: ProjectRequest, project: Project) -> HttpResponse:
    form, is_saved = describe_project(request, project)
    if is_saved:
        return _go_on(project, "texts")
    return _step_page(request, project, "texts", form=form)


def _domain_step(request: ProjectRequest, project: Project) -> HttpResponse:
    form = DomainForm(request.POST or None, initial=_domain_initial(project))
    if request.method == "POST":
        here = HttpResponseRedirect(_step_url(project, "domain"))
        if request.POST.get("act") == "check":
            _check_now(request, project)
            return here
        if form.is_valid():
            before = project.url
            if _save_domain(form, project):
                project.refresh_from_db()
                # A new domain: its two files are shown before the next step.
                is_new = not project.is_hosted and project.url != before
                return here if is_new else _go_on(project, "domain")
    return _step_page(request, project, "domain", form=form, **_documents(project))


def _types_step(request: ProjectRequest, project: Project) -> HttpResponse:
    present = "\n".join(
        str(projects.TypeDraft.of(each)) for each in project.types.all()
    )
    form = TypesForm(request.POST or None, initial={"types": present})
    if request.method == "POST" and form.is_valid():
        with errors_in_form(form):
            projects.set_types(project, form.cleaned_data["types"])
            return _go_on(project, "types")
    return _step_page(request, project, "types", form=form)


def _keys_step(request: ProjectRequest, project: Project) -> HttpResponse:
    """The last one. The first secret needs no signature, as that of a new project."""
    if request.method != "POST":
        return _step_page(request, project, "keys")
    keys = reverse("dashboard:project-keys", args=[project.slug])
    if request.POST.get("act") == "later":
        Project.objects.filter(pk=project.pk).update(setup_step="")
        return redirect("dashboard:project", project.slug)

    def finish() -> Created:
        # Locked, so that a second click waits and finds the wizard done.
        row = lock_project(project)
        Project.objects.filter(pk=project.pk).update(setup_step="")
        if not row.setup_step or row.secrets.exists():
            return Created(keys)
        return Created(keys, projects.add_secret(row))

    sent = submit_once(request, NEW_PROJECT, finish)
    return HttpResponseRedirect(sent.location)
