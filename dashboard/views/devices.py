"""``/devices`` and ``/sync``: the user's devices, and the log of the shared stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth import logout
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts import services as accounts
from dashboard.access import member, or_404, require_recent_signature
from dashboard.frame import accounts_of, frame_of, page
from dashboard.pages import devices as pages
from dashboard.pages import sync as sync_pages
from dashboard.views.responses import confirmation, done, download
from syncstore.names import STORE_NAMES
from syncstore.services import request_check

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpResponse

    from accounts.models import Device
    from dashboard.access import MemberRequest

SECTION = "device-list"
UNREGISTERED = _(
    "Its identity key is unregistered: it can no longer sign for your accounts."
)
CANNOT_RECALL = _(
    "Data that a device has shown or copied cannot be recalled. This includes the key of "
    "the shared store: only a new epoch replaces it."
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
        synced=[each for each in frame.accounts if each.is_synced],
        public_url=settings.PUBLIC_URL,
        sign_in_url=f"{settings.PUBLIC_URL}{reverse('dashboard:sign-in')}",
    )


@member
@require_POST
def rename(request: MemberRequest, device_id: UUID) -> HttpResponse:
    device = _owned(request, device_id)
    accounts.rename_device(device, request.POST.get("name", ""))
    return done(
        request,
        gettext("Renamed to %(name)s.") % {"name": device.name},
        default=reverse("dashboard:device-list"),
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
            title=gettext("Sign out %(device)s?") % {"device": device.name},
            button=gettext("Sign this device out"),
            cancel=reverse("dashboard:device-list"),
            more=_epoch_link(request),
            effects=(
                gettext("You are signed out here, and have to sign in again.")
                if is_this
                else gettext("Its session ends now, in all its open windows."),
                str(UNREGISTERED),
                str(CANNOT_RECALL),
                gettext(
                    "Your subscriptions and notifications stay. The device can sign "
                    "in again with your wallet."
                ),
            ),
        )
    accounts.revoke_device(device, by=request.device)
    if is_this:
        logout(request)
        return redirect("dashboard:sign-in")
    return done(
        request,
        gettext("%(device)s was signed out. Its identity key is being unregistered.")
        % {"device": device.name},
        default=reverse("dashboard:device-list"),
    )


@member
@require_http_methods(["GET", "HEAD", "POST"])
@require_recent_signature(_("Signing out every other device"))
def revoke_others(request: MemberRequest) -> HttpResponse:
    if request.method != "POST":
        others = pages.other_devices(request.user.pk, request.device.pk)
        return confirmation(
            request,
            SECTION,
            title=gettext("Sign out every other device?"),
            button=gettext("Sign out every other device"),
            cancel=reverse("dashboard:device-list"),
            more=_epoch_link(request),
            effects=(
                gettext("These are signed out now: %(devices)s.")
                % {"devices": ", ".join(map(str, others))}
                if others
                else gettext("There is no other device at present."),
                gettext("%(device)s (this device) stays signed in.")
                % {"device": request.device.name},
                str(UNREGISTERED),
                str(CANNOT_RECALL),
            ),
        )
    gone = accounts.revoke_other_devices(request.device)
    return done(
        request,
        ngettext(
            "One other device was signed out.",
            "%(count)d other devices were signed out.",
            len(gone),
        )
        % {"count": len(gone)},
        default=reverse("dashboard:device-list"),
    )


@member
@require_POST
def sign_out(request: MemberRequest) -> HttpResponse:
    """End the session. The server keeps receiving messages and renewing subscriptions."""
    accounts.sign_out_device(request.device)
    logout(request)
    return redirect("dashboard:landing")


def _epoch_link(request: MemberRequest) -> tuple[str, str]:
    """Where keys that a device may have copied are replaced; empty without Sync."""
    if not any(each.is_synced for each in accounts_of(request.user.pk)):
        return ("", "")
    there = reverse("dashboard:device-list") + "#epoch"
    return (there, gettext("It may have copied keys: start a new epoch afterwards"))


def _owned(request: MemberRequest, device_id: UUID) -> Device:
    return or_404(pages.device_of_user(request.user.pk, device_id))


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
        sources=sync_pages.WHO,
        differences=sync_pages.DIFFERENCES,
        store_names={name: sync_pages.store_title(name) for name in STORE_NAMES},
    )


@member
@require_safe
@require_recent_signature(_("Exporting the sync log"), back="sync")
def sync_export(request: MemberRequest) -> HttpResponse:
    """The log, as filtered on the page, as a file; it contains no secrets."""
    frame = frame_of(request, SECTION)
    wanted = sync_pages.SyncFilter.of(request.GET, frame.account_pk)
    return download(
        request,
        sync_pages.exported(request.user.pk, wanted),
        name="sync-log.jsonl",
        content_type="application/x-ndjson",
    )


@member
@require_POST
def sync_verify(request: MemberRequest) -> HttpResponse:
    """Compare the stores of all accounts, or of the chosen one, with the archive."""
    frame = frame_of(request, SECTION)
    for account in frame.accounts:
        if account.is_synced and frame.account_pk in (None, account.pk):
            request_check(account)
    return done(
        request,
        gettext("The stores are being compared with the archive."),
        default=reverse("dashboard:sync"),
    )
