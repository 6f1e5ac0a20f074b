"""``/ops``: health, queues, dead letters, jobs, storage, audit and the doctor's report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
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
from dashboard.keys import parse_pk
from dashboard.views.responses import confirmation
from notifyweb import health
from notifyweb.doctor.checks import component_findings, examine
from notifyweb.doctor.findings import Finding, Level, worst
from notifyweb.operations import jobs as periodic
from notifyweb.operations import queues as work
from notifyweb.operations import replays
from notifyweb.operations.forms import ReplayForm
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
        summary=_summary(components),
        depths=work.depths(),
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
        summary=_summary(findings),
    )


def _summary(findings: list[Finding]) -> str:
    """As the command's, which also has to work without valid settings."""
    wrong = [finding for finding in findings if finding.level is not Level.OK]
    if not wrong:
        return gettext("All %(count)d checks passed.") % {"count": len(findings)}
    names = ", ".join(dict.fromkeys(finding.name for finding in wrong))
    text = ngettext(
        "%(count)d check found something: %(names)s",
        "%(count)d checks found something: %(names)s",
        len(wrong),
    )
    return text % {"count": len(wrong), "names": names}


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
    if "\0" in reason + pk:
        raise Http404  # PostgreSQL has no such text
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
            title=gettext("Drop failed rows of %(queue)s?") % {"queue": queue.label},
            button=gettext("Drop"),
            cancel=back,
            effects=(
                gettext("Reason: %(reason)s") % {"reason": reason},
                gettext("They are not tried again and are no longer listed."),
                gettext("The audit log keeps who dropped them, and the reason."),
            ),
            fields=(("queue", queue.name), ("reason", reason), ("pk", pk)),
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
@require_http_methods(["GET", "HEAD", "POST"])
def replay(request: MemberRequest) -> HttpResponse:
    """Choose what and of which time; a second page says how many; its button does it."""
    given = request.POST if request.method == "POST" else request.GET
    form = ReplayForm(given or None)
    if not form.is_valid():
        return _page(request, "replay", form=form, status=422 if given else 200)
    chosen, times = (
        form.chosen,
        (form.cleaned_data["since"], form.cleaned_data["until"]),
    )
    count = chosen.count(*times)
    if not count:
        form.add_error(None, gettext("There is no such row in this time range."))
    elif count > work.MAX_CHANGED:
        form.add_error("until", _too_many())
    elif request.method != "POST":
        return confirmation(
            request,
            SECTION,
            title=gettext("Replay %(what)s?") % {"what": chosen.label},
            button=gettext("Replay"),
            cancel=reverse("operations:replay"),
            effects=(
                ngettext(
                    "%(count)d row becomes due again, with all its attempts.",
                    "%(count)d rows become due again, with all their attempts.",
                    count,
                )
                % {"count": count},
                gettext(
                    "Receivers get what they have already a second time, under the "
                    "same id."
                ),
                gettext("The audit log keeps who replayed it, and the time range."),
            ),
            fields=tuple((name, given[name]) for name in form.fields),
        )
    else:
        try:
            done = replays.replay(
                chosen, *times, actor=request.user, device=request.device
            )
        except replays.TooManyRows:
            form.add_error("until", _too_many())
        else:
            text = ngettext(
                "%(count)d row is due again.", "%(count)d rows are due again.", done
            ) % {"count": done}
            messages.success(request, text)
            return redirect("operations:overview")
    return _page(request, "replay", form=form, status=422)


def _too_many() -> str:
    return gettext("The range has more than %(count)s rows; choose a shorter one.") % {
        "count": f"{work.MAX_CHANGED:,}"
    }


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
    return redirect("operations:jobs")


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
    before = parse_pk(request.GET.get("before", ""))
    if before is not None:
        entries = entries.filter(pk__lt=before)
    rows = list(entries[: AUDIT_PAGE + 1])
    older = rows[AUDIT_PAGE - 1].pk if len(rows) > AUDIT_PAGE else None
    return _page(request, "audit", entries=rows[:AUDIT_PAGE], older=older)
