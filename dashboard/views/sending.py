"""Sending notifications from the console, their delivery reports, and webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
)

from accounts import services as accounts
from castserver.models import WebhookDelivery
from castserver.services.errors import CastError
from castserver.services.webhooks import webhooks
from dashboard.access import MemberRequest, member, redirect_to_sign_again
from dashboard.forms import WebhookForm
from dashboard.pages import console as pages
from dashboard.submissions import (
    Created,
    form_token,
    result_of,
    submit_once,
)
from dashboard.views.console import (
    SECTION,
    add_service_error,
    of_project,
    project_page,
    sentence,
)
from dashboard.views.responses import Confirmation, confirmation

if TYPE_CHECKING:
    from uuid import UUID

    from castserver.models import Project


# --- webhooks -------------------------------------------------------------------------


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project()
def project_webhooks(request: MemberRequest, project: Project) -> HttpResponse:
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
        try:
            sent = submit_once(request, name, register)
        except CastError as error:
            add_service_error(form, error)
        else:
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
        deliveries=pages.webhook_log(project),
        status=422 if form.is_bound else 200,
    )


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project()
def webhook_act(
    request: MemberRequest, project: Project, webhook_id: UUID
) -> HttpResponse:
    """Test, enable or delete a webhook; GET is the confirmation page of deleting it."""
    try:
        webhook = webhooks.webhook_of(project, str(webhook_id))
    except CastError:
        raise Http404 from None
    here = reverse("dashboard:project-webhooks", args=[project.slug])
    if request.method != "POST":
        due = webhook.deliveries.filter(state=WebhookDelivery.State.DUE).count()
        asked = Confirmation(
            title=gettext("Delete this webhook?"),
            button=gettext("Delete the webhook"),
            cancel=here,
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
        return confirmation(request, SECTION, asked)

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
        messages.success(request, gettext("The webhook is on again."))
    elif act == "delete":
        webhooks.delete_webhook(project, str(webhook_id))
        messages.success(request, gettext("The webhook was deleted."))
    return HttpResponseRedirect(here)


@member
@require_POST
@of_project()
def webhook_replay(
    request: MemberRequest, project: Project, delivery_id: UUID
) -> HttpResponse:
    found = WebhookDelivery.objects.filter(
        webhook__project=project, pk=delivery_id
    ).first()
    if found is None:
        raise Http404
    try:
        webhooks.replay(found)
        messages.success(request, gettext("It will be sent again under the same id."))
    except CastError as error:
        messages.error(request, sentence(error.reason))
    return HttpResponseRedirect(
        reverse("dashboard:project-webhooks", args=[project.slug])
    )
