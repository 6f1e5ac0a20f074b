"""``/ops``: health, queues, dead letters, jobs, storage, audit and the doctor's report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)
from django_celery_beat.models import PeriodicTask

from accounts.models import AuditEntry
from dashboard.access import staff
from dashboard.frame import frame_of
from dashboard.views.responses import Confirmation, confirmation
from notifyweb import health
from notifyweb.doctor.checks import component_findings, examine
from notifyweb.doctor.findings import summary, worst
from notifyweb.operations import jobs as periodic
from notifyweb.operations import queues as work
from notifyweb.operations.storage import table_sizes

if TYPE_CHECKING:
    from dashboard.access import MemberRequest

SECTION = "ops"
AUDIT_PAGE = 100


def _page(
    request: MemberRequest, template: str, *, status: int = 200, **context: object
) -> HttpResponse:
    context |= {"frame": frame_of(request, SECTION), "tab": template}
    return render(request, f"operations/{template}.html", context, status=status)


@staff
@require_safe
def overview(request: MemberRequest) -> HttpResponse:
    components = component_findings(health.readiness())
    return _page(
        request,
        "overview",
        findings=components,
        level=worst(components),
        summary=summary(components),
        depths=[work.depth(queue) for queue in work.queues()],
        workers=periodic.worker_names(),
        lanes=periodic.gateway_lanes(),
    )


@staff
@require_safe
def doctor(request: MemberRequest) -> HttpResponse:
    findings = examine(request)
    return _page(
        request,
        "doctor",
        findings=findings,
        level=worst(findings),
        summary=summary(findings),
    )


@staff
@require_safe
def failed(request: MemberRequest) -> HttpResponse:
    return _page(request, "failed", letters=work.dead_letters())


@staff
@require_http_methods(["GET", "HEAD", "POST"])
def failed_act(request: MemberRequest, act: str) -> HttpResponse:
    """Retry or drop. Dropping explains itself first, with a page at the same URL."""
    given = request.POST if request.method == "POST" else request.GET
    queue = work.queue_named(given.get("queue", ""))
    if queue is None or not queue.can_retry or act not in {"retry", "drop"}:
        raise Http404
    reason, pk = given.get("reason", ""), given.get("pk", "")
    if pk:
        try:
            queue.model._meta.pk.to_python(pk)
        except ValidationError:
            raise Http404 from None
    back = reverse("operations:failed")
    if request.method != "POST":
        if act != "drop":
            return HttpResponseRedirect(back)
        return confirmation(
            request,
            SECTION,
            Confirmation(
                title=gettext("Drop failed rows of %(queue)s?")
                % {"queue": queue.label},
                button=gettext("Drop"),
                cancel=back,
                effects=(
                    gettext("Reason: %(reason)s") % {"reason": reason},
                    gettext("They are not tried again and are no longer listed."),
                    gettext("The audit log keeps who dropped them, and the reason."),
                ),
                fields=(("queue", queue.name), ("reason", reason), ("pk", pk)),
            ),
        )
    count = work.change(
        queue, act, reason=reason, pk=pk, actor=request.user, device=request.device
    )
    if not count:
        text = gettext("Nothing changed: these rows are no longer failed.")
    elif act == "retry":
        text = ngettext(
            "%(count)d row is due again.", "%(count)d rows are due again.", count
        ) % {"count": count}
    else:
        text = ngettext(
            "%(count)d row was dropped.", "%(count)d rows were dropped.", count
        ) % {"count": count}
    messages.success(request, text)
    return HttpResponseRedirect(back)


@staff
@require_safe
def job_list(request: MemberRequest) -> HttpResponse:
    return _page(request, "jobs", jobs=periodic.jobs())


@staff
@require_POST
def job_run(request: MemberRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(PeriodicTask, pk=pk)
    if periodic.run_now(row, actor=request.user, device=request.device):
        text = gettext("%(task)s is queued.") % {"task": row.task}
        messages.success(request, text)
    else:
        messages.error(request, gettext("Redis does not answer; try again."))
    return HttpResponseRedirect(reverse("operations:jobs"))


@staff
@require_safe
def storage(request: MemberRequest) -> HttpResponse:
    tables = table_sizes()
    return _page(
        request, "storage", tables=tables, total=sum(table.size for table in tables)
    )


@staff
@require_safe
def audit_log(request: MemberRequest) -> HttpResponse:
    entries = AuditEntry.objects.select_related("account", "device").order_by("-id")
    before = request.GET.get("before", "")
    if before.isascii() and before.isdecimal() and len(before) < 19:
        entries = entries.filter(pk__lt=int(before))
    rows = list(entries[: AUDIT_PAGE + 1])
    older = rows[AUDIT_PAGE - 1].pk if len(rows) > AUDIT_PAGE else None
    return _page(request, "audit", entries=rows[:AUDIT_PAGE], older=older)
