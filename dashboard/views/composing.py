"""Sending from the console: the form, dry runs, schedules, and delivery reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from zoneinfo import available_timezones

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts.models import account_key
from castserver.services.errors import CastError, TooMany
from castserver.services.notifications import recipients
from castserver.services.notifications.broadcast import (
    Schedule,
    Target,
    broadcast_to,
    cancel_broadcast,
    retry_failed,
    scheduled,
)
from castserver.services.notifications.dry_run import dry_run
from castserver.services.notifications.notify import notify
from castserver.services.notifications.schedule import scheduled_time
from castserver.services.projects.members import Right
from common import limits
from dashboard.access import member, or_404
from dashboard.forms import SendForm
from dashboard.keys import is_uuid
from dashboard.pages import console as console_pages
from dashboard.pages import sending as pages
from dashboard.reasons import sentence
from dashboard.submissions import submission_key
from dashboard.views.console import (
    ProjectRequest,
    errors_as_message,
    errors_in_form,
    of_project,
    project_for,
    project_page,
)
from walletconnect.identity.did import AccountId
from walletconnect.notify.values import CONTENT_FIELDS, NotifyMessage

if TYPE_CHECKING:
    from typing import Any, BinaryIO
    from uuid import UUID

    from castserver.models import Project
    from castserver.services.notifications.dry_run import DryRun
    from castserver.services.notifications.recipients import BadLines

TAB = "send"


@member
@require_http_methods(["GET", "HEAD", "POST"])
@of_project(Right.TRY)
def project_send(request: ProjectRequest, project: Project) -> HttpResponse:
    """``act`` of a POST: send, me (to the own accounts), check (dry run) or schedule."""
    act = request.POST.get("act", "send")
    data: QueryDict | None = None
    if request.method == "POST":
        data = request.POST.copy()
        if act == "me":
            data["audience"] = "me"
    form = _form(request, project, data)
    checked = None
    if form.is_bound and form.is_valid() and form.message is not None:
        with errors_in_form(form):
            target = _target(request, project, form)
            if act == "check":
                checked = dry_run(project, form.message, target)
            else:
                sent = _send(request, project, form, form.message, target)
                return redirect("dashboard:project-sent", project.slug, sent)
    return _compose_page(request, project, form, checked=checked)


def _form(
    request: ProjectRequest,
    project: Project,
    data: QueryDict | None,
    *,
    entered: dict[str, Any] | None = None,
) -> SendForm:
    lists = project.recipient_lists.exclude(name="").order_by("-created_at")
    found: dict[str, Any] = {
        "type": request.GET.get("type", ""),
        "url": project.url,
        "time_zone": timezone.get_current_timezone_name(),
    }
    chosen: Any = None
    if is_uuid(pk := request.GET.get("template", "")):
        chosen = project.templates.filter(pk=pk).first()
    elif is_uuid(pk := request.GET.get("from", "")):
        chosen = project.notifications.filter(pk=pk).first()
    if chosen is not None:
        found |= {name: getattr(chosen, name) for name in CONTENT_FIELDS}
    if recipients_pk := request.GET.get("recipients", ""):
        found |= {"audience": "file", "recipients": recipients_pk}
    return SendForm(
        data,
        types=[(each.type_id, each.name) for each in project.types.all()],
        lists=[(str(each.pk), f"{each.name} ({each.size:,})") for each in lists],
        may_choose=Right.SEND in request.rights,
        initial={**found, **(entered or {})},
    )


def _compose_page(
    request: ProjectRequest,
    project: Project,
    form: SendForm,
    *,
    checked: DryRun | None = None,
    bad_lines: BadLines | None = None,
    status: int = 200,
) -> HttpResponse:
    may_choose = Right.SEND in request.rights
    types = [(each.type_id, each.name) for each in project.types.all()]
    return project_page(
        request,
        "project_send",
        project,
        tab=TAB,
        part="compose",
        form=form,
        checked=checked,
        bad_lines=bad_lines,
        once=pages.send_token(request.user, project),
        templates=list(project.templates.order_by("name")) if may_choose else [],
        chosen_template=request.GET.get("template", ""),
        zones=sorted(available_timezones()) if may_choose else [],
        max_accounts=f"{settings.LIMITS.recipients_per_list:,}",
        max_bytes=settings.LIMITS.recipient_file_bytes,
        reach=[(name, console_pages.reach(project, type_id)) for type_id, name in types]
        if may_choose
        else [],
        status=status,
    )


def _target(request: ProjectRequest, project: Project, form: SendForm) -> Target:
    entered = form.cleaned_data
    kind = entered["audience"]
    if kind == "me":
        return Target(accounts=console_pages.own_accounts(request.user))
    if kind == "list":
        return Target(accounts=entered["accounts"])
    if kind == "file":
        found = or_404(recipients.list_of(project, entered["recipients"]))
        return Target(recipients=found)
    return Target(also_type=entered["also_type"] if kind == "type" else "")


def _send(
    request: ProjectRequest,
    project: Project,
    form: SendForm,
    message: NotifyMessage,
    target: Target,
) -> UUID:
    """Send or schedule once, even if the form is submitted twice.

    The notification id is derived from the form's token and content: other content under
    the same token must be sent as another notification.
    """
    schedule = None
    if request.POST.get("act") == "schedule" and "at" in form.fields:
        entered = form.cleaned_data
        zone = entered["time_zone"].strip()
        schedule = Schedule(scheduled_time(entered["at"], zone), zone)
    verdict = limits.consume("notify_project", project.pk)
    if not verdict.allowed:
        raise TooMany(
            f"this project sends too often; try again in {verdict.retry_after} seconds",
            retry_after=verdict.retry_after,
        )
    key = submission_key(request, "send")[:40]
    notification_id = f"console-{request.user.pk}-{key}"
    if target.accounts is not None and schedule is None:
        outcome = notify(
            project, message, target.accounts, notification_id=notification_id
        )
    else:
        outcome = broadcast_to(
            project,
            message,
            target,
            notification_id=notification_id,
            schedule=schedule,
        )
    return outcome.notification_id


# --- lists of accounts ------------------------------------------------------------------


@member
@require_POST
def accounts_upload(request: ProjectRequest) -> HttpResponse:
    """Store a CSV file; the form that it was chosen in comes back with what was entered.

    One path for all projects, because the limit of a body is by path.
    """
    slug = request.POST.get("project", "")
    # In a path, the URL converter refuses what is no slug, NUL for example.
    if not (slug.isascii() and slug.isprintable()):
        raise Http404
    project = project_for(request, slug, Right.SEND)
    data = request.POST.copy()
    data["audience"] = "file"
    file = request.FILES.get("file")
    problem, bad_lines, found = "", None, None
    if file is None:
        problem = gettext("Choose a file first.")
    elif (file.size or 0) > settings.LIMITS.recipient_file_bytes:
        problem = gettext("The file is too large: at most %(most)d bytes.") % {
            "most": settings.LIMITS.recipient_file_bytes
        }
    else:
        verdict = limits.consume("recipient_upload", project.pk)
        try:
            if not verdict.allowed:
                raise TooMany(
                    f"too many uploads; try again in {verdict.retry_after} seconds"
                )
            found = recipients.upload_list(
                project,
                file.name or "",
                cast("BinaryIO", file.file),
                leave_out=request.POST.get("leave_out") == "on",
            )
        except recipients.BadLines as error:
            problem, bad_lines = sentence(error), error
        except CastError as error:
            problem = sentence(error)
    if found is not None:
        data["recipients"] = str(found.pk)
        messages.success(
            request,
            gettext("%(name)s: %(count)s accounts are stored.")
            % {"name": found.name, "count": f"{found.size:,}"}
            + (
                " "
                + gettext("%(count)s lines were left out.")
                % {"count": f"{found.left_out:,}"}
                if found.left_out
                else ""
            ),
        )
    # Not bound: what is still missing is not an error of the upload.
    form = _form(request, project, None, entered=data.dict())
    if problem and bad_lines is None:
        messages.error(request, problem)
    return _compose_page(
        request, project, form, bad_lines=bad_lines, status=422 if problem else 200
    )


@member
@require_safe
@of_project(Right.VIEW, change=Right.SEND)
def project_lists(request: ProjectRequest, project: Project) -> HttpResponse:
    return project_page(
        request,
        "project_lists",
        project,
        tab=TAB,
        part="lists",
        lists=list(project.recipient_lists.exclude(name="").order_by("-created_at")),
        kept_days=recipients.KEEP_LISTS.days,
    )


@member
@require_POST
@of_project(Right.SEND)
def list_delete(
    request: ProjectRequest, project: Project, list_id: UUID
) -> HttpResponse:
    found = or_404(recipients.list_of(project, list_id))
    with errors_as_message(request):
        recipients.delete_list(found)
        messages.success(request, gettext("The list was deleted."))
    return redirect("dashboard:project-lists", project.slug)


# --- scheduled and sent -----------------------------------------------------------------


@member
@require_safe
@of_project(Right.VIEW, change=Right.SEND)
def project_scheduled(request: ProjectRequest, project: Project) -> HttpResponse:
    return project_page(
        request,
        "project_scheduled",
        project,
        tab=TAB,
        part="scheduled",
        scheduled=list(scheduled(project).select_related("notification", "recipients")),
        notifications=list(
            project.notifications.exclude(
                pk__in=scheduled(project).order_by().values("pk")
            ).order_by("-created_at")[: pages.PAGE]
        ),
    )


@member
@require_safe
@of_project(Right.VISIT)
def project_sent(
    request: ProjectRequest, project: Project, notification_id: UUID
) -> HttpResponse:
    sent = pages.sent_page(
        project,
        notification_id,
        show=request.GET.get("show", ""),
        after=request.GET.get("after", ""),
    )
    if sent is None:
        raise Http404
    if Right.VIEW not in request.rights:
        addresses = console_pages.own_accounts(request.user)
        own = {AccountId.parse(text).key for text in addresses}
        mine = [each for each in sent.deliveries if each.subscriber.account_key in own]
        others = [each for each in sent.undelivered if account_key(each[1]) in own]
        if not mine and not others:
            raise Http404
    return project_page(
        request, "project_sent", project, tab=TAB, part="scheduled", sent=sent
    )


@member
@require_POST
@of_project(Right.SEND)
def broadcast_cancel(
    request: ProjectRequest, project: Project, notification_id: UUID
) -> HttpResponse:
    """Send to no further subscriber; what was sent stays sent."""
    notification = get_object_or_404(project.notifications, pk=notification_id)
    if cancel_broadcast(notification):
        messages.success(request, gettext("Sending was stopped."))
    else:
        messages.error(request, gettext("It was sent already."))
    return redirect("dashboard:project-sent", project.slug, notification_id)


@member
@require_POST
@of_project(Right.SEND)
def broadcast_retry(
    request: ProjectRequest, project: Project, notification_id: UUID
) -> HttpResponse:
    """Send to the accounts that it did not reach."""
    notification = get_object_or_404(project.notifications, pk=notification_id)
    with errors_as_message(request):
        if retry_failed(notification):
            messages.success(request, gettext("It is sent again to these accounts."))
        else:
            messages.error(request, gettext("It is still being sent."))
    return redirect("dashboard:project-sent", project.slug, notification_id)
