"""The landing page, pages of hosted dapps, and the two-window demo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.http import Http404
from django.shortcuts import render
from django.views.decorators.http import require_safe

from castserver.models import Project
from common.problem_types import PROBLEM_TYPES
from dashboard.access import demo_only, member, public
from dashboard.frame import frame_of, page
from dashboard.pages.demo import demo_script
from dashboard.pages.qr import subscribe_link

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from dashboard.access import MemberRequest


@public
@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    return render(request, "dashboard/landing.html", {"demo": settings.DEMO})


@public
@require_safe
def problems(request: HttpRequest) -> HttpResponse:
    return render(request, "dashboard/problems.html", {"problems": PROBLEM_TYPES})


@public
@require_safe
def problem(request: HttpRequest, slug: str) -> HttpResponse:
    """The page at the address in ``type`` of an error answer."""
    if slug not in PROBLEM_TYPES:
        raise Http404
    context = {"name": slug, "problem": PROBLEM_TYPES[slug]}
    return render(request, "dashboard/problem.html", context)


@public
@require_safe
def dapp(request: HttpRequest, slug: str) -> HttpResponse:
    """The page at the URL of a dapp that is hosted here."""
    hosted = Project.objects.filter(slug=slug, is_hosted=True)
    if not settings.DEMO:
        hosted = hosted.filter(is_demo=False)
    project = hosted.first()
    if project is None:
        raise Http404
    return render(
        request,
        "dashboard/dapp.html",
        {
            "project": project,
            "types": project.types.all(),
            "subscribe_link": subscribe_link(project.url),
        },
    )


@public
@demo_only
@require_safe
def join(request: HttpRequest) -> HttpResponse:
    """Target of the link "Open a second device"."""
    return render(request, "dashboard/join.html")


@member
@demo_only
@require_safe
def demo(request: MemberRequest) -> HttpResponse:
    frame = frame_of(request, "demo")
    slugs = Project.objects.filter(is_demo=True).values_list("slug", flat=True)
    return page(
        request,
        "demo",
        section="demo",
        frame=frame,
        script=demo_script(request.user.pk, slugs.first() or ""),
        demo_account=frame.accounts[0] if frame.accounts else None,
    )
