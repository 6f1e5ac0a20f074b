"""The landing page, pages of hosted dapps, and the two-window demo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_POST, require_safe

from accounts.models import AccountEvent
from accounts.services import audit, record_events
from alerts.services.preferences import mute_change
from castserver.models import Project
from common.problem_types import PROBLEM_TYPES
from dashboard.access import demo_only, member, or_404, public
from dashboard.frame import frame_of, page
from dashboard.keys import parse_pk
from dashboard.pages.console import icon_of
from dashboard.pages.demo import (
    CAUGHT_UP,
    CHANGES_WHILE_AWAY,
    demo_script,
    something_to_collide_on,
)
from dashboard.pages.devices import other_devices
from dashboard.pages.qr import subscribe_link
from dashboard.views.responses import done
from preferences import services as preferences

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from dashboard.access import MemberRequest


@public
@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    return render(request, "dashboard/landing.html", {"demo": settings.DEMO})


@public
@require_safe
def offline(request: HttpRequest) -> HttpResponse:
    """What the service worker shows in place of a page that cannot be loaded."""
    return render(request, "dashboard/offline.html")


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
    project = or_404(hosted.first())
    return render(
        request,
        "dashboard/dapp.html",
        {
            "project": project,
            # Pictures are served to members.
            "icon": icon_of(project) if request.user.is_authenticated else "",
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


@member
@demo_only
@require_POST
def demo_collide(request: MemberRequest) -> HttpResponse:
    """Two devices mute one dapp at the same moment, for different times."""
    there = reverse("dashboard:demo")
    others = other_devices(request.user.pk, request.device.pk)
    subscription = something_to_collide_on(request.user.pk)
    if not others or subscription is None:
        messages.error(
            request,
            gettext("Open a second device and subscribe to a dapp first."),
        )
        return HttpResponseRedirect(there)
    url = subscription.dapp_url
    with transaction.atomic():
        events = preferences.collide(
            subscription.account,
            url,
            [
                (mute_change(url, "", "1h"), request.device),
                (mute_change(url, "", "8h"), others[-1]),
            ],
        )
        record_events(events)
    return done(
        request,
        gettext(
            "Both muted %(dapp)s at the same moment. %(device)s had the higher id and won."
        )
        % {"dapp": subscription, "device": others[-1].name},
        default=there,
    )


@member
@demo_only
@require_POST
def demo_online(request: MemberRequest) -> HttpResponse:
    """Count what happened after ``sequence``, the last change that the window had."""
    there = reverse("dashboard:demo")
    sequence = parse_pk(request.POST.get("sequence", ""))
    if sequence is None:
        messages.error(request, gettext("Go offline in this window first."))
        return HttpResponseRedirect(there)
    missed = AccountEvent.objects.filter(user=request.user, sequence__gt=sequence)
    count = missed.count()
    text = ngettext(
        "%(count)d change while this window was away; nothing was lost.",
        "%(count)d changes while this window was away; nothing was lost.",
        count,
    ) % {"count": count}
    if count >= CHANGES_WHILE_AWAY:
        audit(CAUGHT_UP, device=request.device, detail=str(count))
    else:
        text += " " + gettext("Make at least three in the other window.")
    return done(request, text, default=there)
