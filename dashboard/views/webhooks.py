"""Webhooks of a project in the console: adding, testing, replaying, rotating, deleting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_POST

from accounts import services as accounts
from castserver.models import WebhookDelivery
from castserver.services.errors import CastError
from castserver.services.projects.members import Right
from castserver.services.webhooks import webhooks
from dashboard.access import (
    member,
    redirect_to_sign_again,
    require_recent_signature,
)
from dashboard.forms import ReplayForm, WebhookForm
from dashboard.keys import is_uuid
from dashboard.pages.webhooks import receivers, webhook_log
from dashboard.submissions import Created, form_token, result_of, submit_once
from dashboard.views.console import (
    SECTION,
    ProjectRequest,
    errors_in_form,
    of_project,
    project_page,
)
from dashboard.views.responses import confirmation

if TYPE_CHECKING:
    from uuid import UUID

    from castserver.models import Project, Webhook


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.VIEW, change=Right.MANAGE)
def project_webhooks(request: ProjectRequest, project: Project) -> HttpResponse:
    initial: dict[str, Any] = {}
    if "url" in request.GET:
        initial["url"] = request.GET["url"]
    if "events" in request.GET:
        initial["events"] = request.GET.getlist("events")
    form = WebhookForm(request.POST or None, initial=initial)
    name = f"webhook:{project.pk}"

    def register() -> Created:
        _, secret = webhooks.register_webhook(
            project, form.cleaned_data["url"], events=form.cleaned_data["events"]
        )
        return Created(request.path, secret)

    if request.method == "POST" and form.is_valid():
        if not accounts.is_fresh(request.device):
            # Keep the entered values across the detour.
            entered = urlencode(form.cleaned_data, doseq=True)
            return redirect_to_sign_again(
                request,
                gettext("Adding a webhook"),
                back=f"{request.path}?{entered}",
            )
        with errors_in_form(form):
            sent = submit_once(request, name, register)
            return HttpResponseRedirect(sent.location)
    return project_page(
        request,
        "project_webhooks",
        project,
        tab="webhooks",
        form=form,
        result=result_of(request, name),
        once=form_token(request.device, name),
        once_test=form_token(request.device, f"test:{project.pk}"),
        webhooks=list(project.webhooks.order_by("created_at")),
        log=_log_page(request, project),
    )


def _log_page(
    request: ProjectRequest, project: Project, webhook: Webhook | None = None
) -> dict[str, Any]:
    state = request.GET.get("state", "")
    if state not in WebhookDelivery.State.values:
        state = ""
    before = None
    if is_uuid(key := request.GET.get("before", "")):
        own = WebhookDelivery.objects.filter(webhook__project=project)
        before = own.filter(pk=key).first()
    found = webhook_log(project, webhook=webhook, state=state, before=before)
    return {
        "deliveries": found.deliveries,
        "older": found.older,
        "state": state,
        "states": WebhookDelivery.State.values,
        "shows_webhook": webhook is None,
    }


def _webhook_of(project: Project, webhook_id: UUID) -> Webhook:
    try:
        return webhooks.webhook_of(project, str(webhook_id))
    except CastError:
        raise Http404 from None


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.VIEW, change=Right.MANAGE)
def project_webhook(
    request: ProjectRequest, project: Project, webhook_id: UUID
) -> HttpResponse:
    """One webhook with its log; POST tests, enables or deletes it."""
    webhook = _webhook_of(project, webhook_id)
    if request.method == "POST":
        return _act(request, project, webhook)
    if request.GET.get("act") == "delete":
        due = webhook.deliveries.filter(state=WebhookDelivery.State.DUE).count()
        return confirmation(
            request,
            SECTION,
            title=gettext("Delete this webhook?"),
            button=gettext("Delete the webhook"),
            cancel=reverse("dashboard:project-webhooks", args=[project.slug]),
            effects=(
                gettext("No more events are posted to %(url)s.") % {"url": webhook.url},
                ngettext(
                    "%(count)d queued event is not sent.",
                    "%(count)d queued events are not sent.",
                    due,
                )
                % {"count": due}
                if due
                else gettext("No event is queued for it."),
                gettext(
                    "Its log and its secret are deleted. This cannot be undone; a new "
                    "webhook gets another secret."
                ),
            ),
            fields=(("act", "delete"),),
        )
    return _webhook_page(request, project, webhook, ReplayForm())


def _webhook_page(
    request: ProjectRequest, project: Project, webhook: Webhook, replay: ReplayForm
) -> HttpResponse:
    name = f"webhook:{webhook.pk}"
    result = result_of(request, name)
    return project_page(
        request,
        "project_webhook",
        project,
        tab="webhooks",
        webhook=webhook,
        form=replay,
        result=result,
        once=form_token(request.device, name),
        once_test=form_token(request.device, f"test:{project.pk}"),
        receivers=receivers(result.secret if result else ""),
        log=_log_page(request, project, webhook),
        status=422 if replay.is_bound else 200,
    )


def _act(request: ProjectRequest, project: Project, webhook: Webhook) -> HttpResponse:
    here = reverse("dashboard:project-webhook", args=[project.slug, webhook.pk])

    def queue_test() -> Created:
        webhooks.queue_test_event(webhook)
        return Created(here)

    act = request.POST.get("act", "")
    if act == "test":
        submit_once(request, f"test:{project.pk}", queue_test)
        messages.success(
            request, gettext("The test event was queued; the log below shows it.")
        )
    elif act == "enable":
        webhooks.enable_webhook(webhook)
        messages.success(
            request,
            gettext(
                "The webhook is on again. Events of the pause can be sent with “Replay "
                "a time range”."
            ),
        )
    elif act == "delete":
        webhooks.delete_webhook(project, str(webhook.pk))
        messages.success(request, gettext("The webhook was deleted."))
        here = reverse("dashboard:project-webhooks", args=[project.slug])
    return HttpResponseRedirect(here)


@member
@require_POST
@of_project(Right.MANAGE)
@require_recent_signature(_("Rotating a webhook's secret"), back="project-webhooks")
def webhook_rotate(
    request: ProjectRequest, project: Project, webhook_id: UUID
) -> HttpResponse:
    webhook = _webhook_of(project, webhook_id)
    here = reverse("dashboard:project-webhook", args=[project.slug, webhook.pk])
    sent = submit_once(
        request,
        f"webhook:{webhook.pk}",
        lambda: Created(here, webhooks.rotate_secret(webhook)),
    )
    return HttpResponseRedirect(sent.location)


@member
@require_POST
@of_project(Right.MANAGE)
def webhook_replay_range(
    request: ProjectRequest, project: Project, webhook_id: UUID
) -> HttpResponse:
    webhook = _webhook_of(project, webhook_id)
    form = ReplayForm(request.POST)
    if form.is_valid():
        entered = form.cleaned_data
        with errors_in_form(form):
            count = webhooks.replay_range(
                webhook, entered["since"], entered["until"], states=entered["states"]
            )
            messages.success(
                request,
                ngettext(
                    "%(count)d event will be sent again under its id.",
                    "%(count)d events will be sent again under their ids.",
                    count,
                )
                % {"count": count}
                if count
                else gettext("There is no such event in this time range."),
            )
            return redirect("dashboard:project-webhook", project.slug, webhook.pk)
    return _webhook_page(request, project, webhook, form)


@member
@require_POST
@of_project(Right.MANAGE)
def webhook_replay(
    request: ProjectRequest, project: Project, delivery_id: UUID
) -> HttpResponse:
    found = WebhookDelivery.objects.filter(
        webhook__project=project, pk=delivery_id
    ).first()
    if found is None:
        raise Http404
    webhooks.replay(found)
    messages.success(request, gettext("It will be sent again under the same id."))
    return redirect("dashboard:project-webhook", project.slug, found.webhook_id)
