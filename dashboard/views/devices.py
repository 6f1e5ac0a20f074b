"""``/devices`` and ``/sync``: which browsers share the subscriptions, and how they agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth import logout
from django.http import Http404, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts import services as accounts
from dashboard.access import fresh, member
from dashboard.frame import frame_of, page
from dashboard.pages import devices as pages
from dashboard.pages import sync as sync_pages
from dashboard.views.responses import Confirmation, confirmation, done

if TYPE_CHECKING:
    from uuid import UUID

    from accounts.models import Device
    from dashboard.access import MemberRequest

SECTION = "device-list"
UNREGISTERED = (
    "Its identity key is unregistered: it signs nothing more for your accounts."
)
CANNOT_RECALL = (
    "What a device has shown or copied cannot be recalled. That holds for the key of the "
    "shared store as well, which the protocol cannot replace."
)


@member
@require_safe
def device_list(request: MemberRequest) -> HttpResponse:
    frame = frame_of(request, SECTION)
    demo_account = next((each for each in frame.accounts if settings.DEMO), None)
    return page(
        request,
        "devices",
        section=SECTION,
        frame=frame,
        cards=pages.device_cards(request.user.pk, request.device.pk),
        demo_account=demo_account,
        public_url=settings.PUBLIC_URL,
    )


@member
@require_POST
def rename(request: MemberRequest, device_id: UUID) -> HttpResponse:
    device = _owned(request, device_id)
    accounts.rename_device(device, request.POST.get("name", ""))
    return done(
        request,
        f"Renamed to {device.name}.",
        otherwise=reverse("dashboard:device-list"),
    )


@member
@require_http_methods(["GET", "HEAD", "POST"])
def revoke(request: MemberRequest, device_id: UUID) -> HttpResponse:
    device = _owned(request, device_id)
    is_this = device.pk == request.device.pk
    if request.method != "POST":
        return confirmation(
            request,
            SECTION,
            Confirmation(
                title=f"Sign out {device.name}?",
                button="Sign this device out",
                cancel=reverse("dashboard:device-list"),
                effects=(
                    "You are signed out here, and have to sign in again."
                    if is_this
                    else "Its session ends now; open windows of it close at once.",
                    UNREGISTERED,
                    CANNOT_RECALL,
                    "Your subscriptions and notifications stay. The device can come back "
                    "by signing in with your wallet.",
                ),
            ),
        )
    accounts.revoke_device(device, by=request.device)
    if is_this:
        logout(request)
        return HttpResponseRedirect(reverse("dashboard:sign-in"))
    return done(
        request,
        f"{device.name} was signed out. Its identity key is being unregistered.",
        otherwise=reverse("dashboard:device-list"),
    )


@member
@require_http_methods(["GET", "HEAD", "POST"])
@fresh("Signing out every other device")
def revoke_others(request: MemberRequest) -> HttpResponse:
    if request.method != "POST":
        others = pages.other_devices(request.user.pk, request.device.pk)
        return confirmation(
            request,
            SECTION,
            Confirmation(
                title="Sign out every other device?",
                button="Sign out every other device",
                cancel=reverse("dashboard:device-list"),
                effects=(
                    f"These are signed out now: {', '.join(map(str, others))}."
                    if others
                    else "There is no other device at present.",
                    f"{request.device.name}, where you are, stays signed in.",
                    UNREGISTERED,
                    CANNOT_RECALL,
                ),
            ),
        )
    gone = accounts.revoke_other_devices(request.device)
    return done(
        request,
        f"{len(gone)} other devices were signed out."
        if len(gone) != 1
        else "One other device was signed out.",
        otherwise=reverse("dashboard:device-list"),
    )


@member
@require_POST
def sign_out(request: MemberRequest) -> HttpResponse:
    """Sign out: the session is over, the inbox goes on receiving and renewing."""
    accounts.sign_out_device(request.device)
    logout(request)
    return HttpResponseRedirect(reverse("dashboard:landing"))


def _owned(request: MemberRequest, device_id: UUID) -> Device:
    device = pages.device_of_user(request.user.pk, device_id)
    if device is None:
        raise Http404
    return device


@member
@require_safe
def sync(request: MemberRequest) -> HttpResponse:
    frame = frame_of(request, SECTION)
    wanted = sync_pages.SyncFilter.of(request.GET, frame.account_pk)
    return page(
        request,
        "sync",
        section=SECTION,
        frame=frame,
        sync=sync_pages.sync_page(request.user.pk, wanted),
        outcomes=sync_pages.OUTCOMES,
    )


@member
@require_safe
@fresh("Exporting the sync log", back="sync")
def sync_export(request: MemberRequest) -> HttpResponse:
    """The whole log as a file; it holds no secrets."""
    rows = sync_pages.exported(request.user.pk)
    return JsonResponse(
        {"updates": rows},
        json_dumps_params={"indent": 2, "ensure_ascii": False},
        headers={"Content-Disposition": 'attachment; filename="sync-log.json"'},
    )
