"""Alerts: how notifications reach people who are not looking, and what silences them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from django.contrib import messages
from django.contrib.staticfiles import finders
from django.http import Http404, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from alerts.models import PushSubscription
from alerts.services import digest, forwarding, preferences, webpush
from common.clients import rate_key
from dashboard.access import member, or_404, public
from dashboard.pages.message_rows import type_name
from dashboard.reasons import translate_reason
from dashboard.views.responses import done
from dashboard.views.subscriptions import owned_subscription
from subscriptions.models import DappDocument
from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import parse_json

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest

    from dashboard.access import MemberRequest
    from subscriptions.models import Subscription


def _back(request: MemberRequest, problem: str = "", result: str = "") -> HttpResponse:
    """To the section on the settings page, with what happened."""
    there = reverse("dashboard:settings") + "#alerts"
    if problem:
        messages.error(request, problem)
        return HttpResponseRedirect(there)
    return done(request, result, default=there)


# --- quiet hours and mutes --------------------------------------------------------------


@member
@require_POST
def quiet_hours(request: MemberRequest) -> HttpResponse:
    form = request.POST
    is_on = form.get("quiet") == "on"
    try:
        preferences.save_quiet_hours(
            request.user,
            start=form.get("from", "") if is_on else "00:00",
            end=form.get("until", "") if is_on else "00:00",
            weekends=form.get("weekends") == "on",
            time_zone=form.get("zone", ""),
        )
    except preferences.PreferenceError as error:
        return _back(
            request,
            problem=_("Not saved: %(reason)s.") % {"reason": translate_reason(error)},
        )
    return _back(request, result=_("Quiet hours were saved."))


@member
@require_POST
def mute(request: MemberRequest, topic: str) -> HttpResponse:
    """Mute ``type`` (empty: all types) for ``for``, or end the mute that ``unmute`` names."""
    found = owned_subscription(request, topic)
    there = reverse("dashboard:subscription", args=[topic])
    if "unmute" in request.POST:
        preferences.unmute(
            found.account,
            found.dapp_url,
            request.POST["unmute"],
            device=request.device,
        )
        text = _("%(what)s alerts you again.")
        what = _what(found, request.POST["unmute"])
        return done(request, text % {"what": what}, default=there)
    type_ = request.POST.get("type", "")
    if type_ and type_ not in found.scope:
        raise Http404
    try:
        preferences.mute(
            found.account,
            found.dapp_url,
            type_,
            request.POST.get("for", ""),
            device=request.device,
        )
    except preferences.PreferenceError as error:
        messages.error(
            request, _("Not muted: %(reason)s.") % {"reason": translate_reason(error)}
        )
        return HttpResponseRedirect(there)
    what = _what(found, type_)
    return done(request, _("Muted: %(what)s.") % {"what": what}, default=there)


def _what(found: Subscription, type_: str) -> str:
    """The dapp, or one of its types by its title."""
    if not type_:
        return str(found)
    document = DappDocument.objects.filter(url=found.dapp_url).first()
    title = type_name(type_, document.types if document else None)
    return _("%(type)s of %(dapp)s") % {"type": title, "dapp": found}


# --- Web Push ---------------------------------------------------------------------------


@member
@require_POST
def push_enable(request: MemberRequest) -> HttpResponse:
    """``subscription``: what the browser's ``PushSubscription.toJSON()`` returned."""
    try:
        value = parse_json(request.POST.get("subscription", ""))
        webpush.save_subscription(request.device, value)
    except webpush.PushError as error:
        return _back(
            request,
            problem=_("Push was not turned on: %(reason)s.")
            % {"reason": translate_reason(error)},
        )
    except RemoteProtocolError:
        return _back(request, problem=_("Push was not turned on: malformed JSON."))
    return _back(request, result=_("Push is on for this browser."))


@member
@require_POST
def push_disable(request: MemberRequest) -> HttpResponse:
    webpush.remove_subscription(request.device)
    return _back(request, result=_("Push is off for this browser."))


@member
@require_POST
def push_test(request: MemberRequest) -> HttpResponse:
    subscription = PushSubscription.objects.filter(device=request.device).first()
    if subscription is None:
        return _back(request, problem=_("Push is off for this browser."))
    webpush.queue_test(subscription)
    return _back(request, result=_("A test is on its way to this browser."))


# --- forwards ---------------------------------------------------------------------------


@member
@require_POST
def forward_add(request: MemberRequest) -> HttpResponse:
    form = request.POST
    try:
        forward = forwarding.add_forward(
            request.user,
            form.get("kind", ""),
            form.get("url", ""),
            form.get("token", ""),
        )
    except forwarding.ForwardError as error:
        return _back(
            request,
            problem=_("Not added: %(reason)s.") % {"reason": translate_reason(error)},
        )
    return _back(
        request,
        result=_("Notifications are forwarded to %(service)s.")
        % {"service": forward.get_kind_display()},
    )


@member
@require_POST
def forward_act(request: MemberRequest, forward_id: UUID) -> HttpResponse:
    """``act``: test, resume or remove."""
    forward = or_404(forwarding.forward_of(request.user, str(forward_id)))
    act = request.POST.get("act")
    if act == "test":
        forwarding.queue_test(forward)
        return _back(request, result=_("A test is on its way."))
    if act == "resume":
        forwarding.resume_forward(forward)
        return _back(request, result=_("Forwarding goes on."))
    if act == "remove":
        forwarding.remove_forward(forward)
        return _back(request, result=_("The forward was removed."))
    raise Http404


# --- digest -----------------------------------------------------------------------------


@member
@require_POST
def digest_save(request: MemberRequest) -> HttpResponse:
    form = request.POST
    if form.get("frequency") == "off":
        digest.remove_digest(request.user)
        return _back(request, result=_("No digest is sent."))
    hour = form.get("hour", "")
    try:
        row = digest.save_digest(
            request.user,
            email=form.get("email", ""),
            frequency=form.get("frequency", ""),
            hour=int(hour) if hour.isdecimal() and len(hour) < 3 else -1,
            client=rate_key(request),
        )
    except digest.DigestError as error:
        return _back(
            request,
            problem=_("Not saved: %(reason)s.") % {"reason": translate_reason(error)},
        )
    if row.confirmed_at is None:
        return _back(
            request,
            result=_("Open the link in the mail to %(email)s.") % {"email": row.email},
        )
    return _back(request, result=_("The digest was saved."))


@public
@require_http_methods(["GET", "HEAD", "POST"])
def digest_confirm(request: HttpRequest, token: str) -> HttpResponse:
    """The link of the first mail. Mail scanners open links, so a button confirms."""
    is_done = request.method == "POST"
    row = digest.confirm(token) if is_done else digest.confirmable(token)
    state = "over" if row is None else "confirmed" if is_done else "ask"
    status = 404 if row is None else 200
    return render(
        request, "alerts/link.html", {"state": state, "row": row}, status=status
    )


# A mail client that unsubscribes with one click sends no cookie and no token (RFC 8058).
@csrf_exempt
@public
@require_http_methods(["GET", "HEAD", "POST"])
def digest_stop(request: HttpRequest, token: str) -> HttpResponse:
    if not digest.is_stop_link(token):
        return render(request, "alerts/link.html", {"state": "over"}, status=404)
    if request.method != "POST":
        return render(request, "alerts/link.html", {"state": "ask-stop"})
    digest.stop(token)
    return render(request, "alerts/link.html", {"state": "stopped"})


# --- the installed app ------------------------------------------------------------------


@public
@require_safe
def manifest(request: HttpRequest) -> HttpResponse:
    """The web app manifest (https://www.w3.org/TR/appmanifest/)."""
    return JsonResponse(
        {
            "id": "/",
            "name": "Notifyweb",
            "short_name": "Notifyweb",
            "description": "One inbox for the notifications of your dapps.",
            "start_url": "/inbox",
            "scope": "/",
            "display": "standalone",
            "background_color": "#ffffff",
            "theme_color": "#ffffff",
            "icons": [
                {
                    "src": static("mark.svg"),
                    "sizes": "any",
                    "type": "image/svg+xml",
                    "purpose": "any",
                },
                *(
                    {
                        "src": static(f"icons/{purpose}-{size}.png"),
                        "sizes": f"{size}x{size}",
                        "type": "image/png",
                        "purpose": purpose,
                    }
                    for purpose in ("any", "maskable")
                    for size in (192, 512)
                ),
            ],
        },
        content_type="application/manifest+json",
    )


@public
@require_safe
def service_worker(request: HttpRequest) -> HttpResponse:
    """The service worker at the root, because its path bounds what it controls."""
    path = finders.find("js/service-worker.js")
    if not path:
        raise Http404
    return HttpResponse(
        Path(path).read_text(encoding="utf-8"),
        content_type="text/javascript; charset=utf-8",
        headers={"Cache-Control": "no-cache"},
    )
