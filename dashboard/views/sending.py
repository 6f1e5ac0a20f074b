"""Sending a notification from the console, and what became of it; webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts import services as accounts
from accounts.models import account_key
from castserver.models import WebhookDelivery
from castserver.services.errors import CastError
from castserver.services.notifications.notify import (
    audience,
    notify,
    notify_everyone,
)
from castserver.services.webhooks import webhooks
from common import limits
from dashboard.access import MemberRequest, member, to_sign_again
from dashboard.forms import SendForm, WebhookForm
from dashboard.pages import console as pages
from dashboard.submissions import (
    Created,
    form_token,
    result_of,
    submission_key,
    submit_once,
)
from dashboard.views.console import SECTION, explain_refusal, of_project, project_page
from dashboard.views.responses import Confirmation, confirmation
from walletconnect.identity.did import AccountId
from walletconnect.notify.values import NotifyMessage

if TYPE_CHECKING:
    from uuid import UUID

    from castserver.models import Project, Webhook
    from castserver.services.notifications.notify import NotifyOutcome


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(owner_only=False)
def project_send(request: MemberRequest, project: Project) -> HttpResponse:
    types = [(each.type_id, each.name) for each in project.types.all()]
    may_choose = pages.is_owner(request.user, project)
    form = SendForm(
        request.POST or None,
        types=types,
        may_choose=may_choose,
        initial={"type": request.GET.get("type", ""), "url": project.url},
    )
    if request.method == "POST" and form.is_valid():
        try:
            outcome = _send(request, project, form)
        except CastError as error:
            explain_refusal(form, error)
        else:
            return HttpResponseRedirect(
                reverse(
                    "dashboard:project-sent",
                    args=[project.slug, outcome.notification_id],
                )
            )
    return project_page(
        request,
        "project_send",
        project,
        tab="send",
        form=form,
        once=pages.send_token(request.user, project),
        reach=[(name, audience(project, type_id)) for type_id, name in types]
        if may_choose
        else [],
        status=422 if form.is_bound else 200,
    )


def _send(request: MemberRequest, project: Project, form: SendForm) -> NotifyOutcome:
    """``once`` makes a form that is sent twice (a second press or tab) one send.

    The content is part of the id: other content under the same token is another
    notification, whose text must not give way to the first one's.
    """
    verdict = limits.consume("notify_project", project.pk)
    if not verdict.allowed:
        from castserver.services.errors import TooMany

        raise TooMany(
            f"this project sends too often; try again in {verdict.retry_after} seconds",
            retry_after=verdict.retry_after,
        )
    entered = form.cleaned_data
    message = NotifyMessage(
        **{name: entered[name] for name in ("type", "title", "body", "icon", "url")}
    )
    notification_id = f"console-{request.user.pk}-{_send_key(request)}"
    if entered["audience"] == "everyone":
        return notify_everyone(project, message, notification_id=notification_id)
    if entered["audience"] == "list":
        accounts = entered["accounts"]
    else:
        accounts = pages.own_subscribed(request.user, project)
    return notify(project, message, accounts, notification_id=notification_id)


def _send_key(request: MemberRequest) -> str:
    return submission_key(request, "send")[:40]


@member
@require_safe
@of_project(owner_only=False)
def project_sent(
    request: MemberRequest, project: Project, notification_id: UUID
) -> HttpResponse:
    sent = pages.sent_page(project, notification_id)
    if sent is None:
        raise Http404
    if not pages.is_owner(request.user, project):
        addresses = pages.own_subscribed(request.user, project)
        own = {AccountId.parse(text).key for text in addresses}
        mine = [each for each in sent.deliveries if each.subscriber.account_key in own]
        others = [each for each in sent.undelivered if account_key(each[0]) in own]
        if not mine and not others:
            raise Http404
    return project_page(request, "project_sent", project, tab="send", sent=sent)


# --- webhooks -------------------------------------------------------------------------


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project()
def project_webhooks(request: MemberRequest, project: Project) -> HttpResponse:
    form = WebhookForm(request.POST or None, initial=_entered_before(request))
    name = f"webhook:{project.pk}"
    if request.method == "POST" and form.is_valid():
        if not accounts.is_fresh(request.device):
            # What was typed comes back with the person.
            entered = urlencode(form.cleaned_data, doseq=True)
            back = f"{request.path}?{entered}"
            return to_sign_again(request, "Adding a webhook", back=back)
        try:
            sent = submit_once(
                request, name, lambda: _register(project, form.cleaned_data)
            )
        except CastError as error:
            explain_refusal(form, error)
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


def _entered_before(request: MemberRequest) -> dict[str, Any]:
    entered: dict[str, Any] = {}
    if "url" in request.GET:
        entered["url"] = request.GET["url"]
    if "events" in request.GET:
        entered["events"] = request.GET.getlist("events")
    return entered


def _register(project: Project, entered: dict[str, Any]) -> Created:
    _, secret = webhooks.register_webhook(
        project, entered["url"], events=entered["events"]
    )
    return Created(reverse("dashboard:project-webhooks", args=[project.slug]), secret)


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project()
def webhook_act(
    request: MemberRequest, project: Project, webhook_id: UUID
) -> HttpResponse:
    """Acts on a webhook; the GET explains what deleting it means."""
    try:
        webhook = webhooks.webhook_of(project, str(webhook_id))
    except CastError:
        raise Http404 from None
    here = reverse("dashboard:project-webhooks", args=[project.slug])
    if request.method != "POST":
        return confirmation(request, SECTION, _deletion(webhook, cancel=here))
    act = request.POST.get("act", "")
    if act == "test":
        submit_once(
            request, f"test:{project.pk}", lambda: _queue_test(webhook, here=here)
        )
        messages.success(request, "A test event is on its way; the log below shows it.")
    elif act == "enable":
        webhooks.enable_webhook(webhook)
        messages.success(request, "The webhook is on again.")
    elif act == "delete":
        webhooks.delete_webhook(project, str(webhook_id))
        messages.success(request, "The webhook was deleted.")
    return HttpResponseRedirect(here)


def _queue_test(webhook: Webhook, *, here: str) -> Created:
    webhooks.queue_test_event(webhook)
    return Created(here)


def _deletion(webhook: Webhook, *, cancel: str) -> Confirmation:
    waiting = webhook.deliveries.filter(state=WebhookDelivery.State.DUE).count()
    return Confirmation(
        title="Delete this webhook?",
        button="Delete the webhook",
        cancel=cancel,
        effects=(
            f"Nothing more is posted to {webhook.url}.",
            f"{waiting} waiting events are not sent."
            if waiting
            else "No event is waiting for it.",
            "Its log and its secret are deleted. This cannot be undone; a new webhook "
            "gets another secret.",
        ),
        fields=(("act", "delete"),),
    )


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
        messages.success(request, "It will be sent once more, under the same id.")
    except CastError as error:
        messages.error(request, f"{error.reason[:1].upper()}{error.reason[1:]}.")
    return HttpResponseRedirect(
        reverse("dashboard:project-webhooks", args=[project.slug])
    )
