"""Joining a store without a signature: by a one-time code, or by keys of another server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_safe

from common import clock
from dashboard.access import member, require_recent_signature, safe_next
from dashboard.frame import page
from dashboard.pages.signing import LINK_PROBLEMS
from dashboard.views.sharing import own_account, sync_is_on
from dashboard.views.sign_in import INBOX, SESSION_ENTRY, after_signing
from syncstore import services as syncstore
from syncstore.schemas import MAX_TEXT_LENGTH

if TYPE_CHECKING:
    from dashboard.access import MemberRequest
    from syncstore.models import DeviceLink

SECTION: Final = "device-list"


# --- on the new device ----------------------------------------------------------------


@member
@require_http_methods(["GET", "HEAD", "POST"])
def show(request: MemberRequest) -> HttpResponse:
    """Show a one-time code with its QR code, and wait for the confirmation."""
    account = own_account(request)
    problem = ""
    if request.method == "POST":
        try:
            syncstore.begin_link(account, request.device)
        except syncstore.SyncRefused as error:
            problem = sentence_of(error)
        else:
            return HttpResponseRedirect(request.get_full_path())
    link = syncstore.newest_link(account, request.device)
    if _state_of(link) == "linked" and not problem:
        return sync_is_on(request, account)
    code = syncstore.code_of(link) if link else ""
    entry = request.session.get(SESSION_ENTRY, {})
    onward = safe_next(request, entry.get("next", ""), INBOX)
    query = urlencode({"code": syncstore.format_code(code)})
    return render(
        request,
        "dashboard/link_show.html",
        {
            "account": account,
            "link": link,
            "code": syncstore.format_code(code) if code else "",
            "seconds": int((link.expires_at - clock.now()).total_seconds())
            if link and code
            else 0,
            "state": _state_of(link),
            "address": f"{settings.PUBLIC_URL}{reverse('dashboard:link-confirm')}",
            "confirm_url": f"{settings.PUBLIC_URL}{reverse('dashboard:link-confirm')}?{query}",
            "problem": problem,
            "skip": after_signing(onward, entry.get("signer", "")),
        },
        status=422 if problem else 200,
    )


@member
@require_safe
def state(request: MemberRequest) -> HttpResponse:
    """Whether the code was confirmed: ``open``, ``linked``, ``expired`` or ``none``."""
    link = syncstore.newest_link(own_account(request), request.device)
    return JsonResponse({"state": _state_of(link)})


def _state_of(link: DeviceLink | None) -> str:
    if link is None:
        return "none"
    if link.used_at is not None:
        return "linked"
    return "open" if link.is_open(clock.now()) else "expired"


# --- on a device that syncs -----------------------------------------------------------


@member
@require_http_methods(["GET", "HEAD", "POST"])
def confirm(request: MemberRequest) -> HttpResponse:
    """Enter the code of another device, see which device it is, and let it in."""
    posted = request.method == "POST"
    code = (request.POST if posted else request.GET).get("code", "")
    link, problem = None, ""
    try:
        if posted:
            link = syncstore.confirm_link(code, request.device)
        elif code.strip():
            link = syncstore.find_link(code, request.device)
    except syncstore.SyncRefused as error:
        problem = sentence_of(error)
    if posted and link is not None:
        text = gettext("%(device)s is linked and syncs %(account)s now.")
        names = {"device": link.device.name, "account": link.account.short}
        messages.success(request, text % names)
        return redirect("dashboard:device-list")
    return page(
        request,
        "link_confirm",
        section=SECTION,
        status=422 if problem else 200,
        code=code[:20],
        link=link,
        problem=problem,
    )


# --- between two servers --------------------------------------------------------------


@member
@require_http_methods(["GET", "HEAD", "POST"])
def ask_key(request: MemberRequest) -> HttpResponse:
    """On the new server: show a request for the store's keys, and take the answer."""
    account = own_account(request)
    problem = ""
    if request.method == "POST":
        try:
            if "answer" in request.POST:
                answer = request.POST["answer"]
                syncstore.take_key_answer(answer, account, request.device)
                return sync_is_on(request, account)
            syncstore.begin_key_request(account, request.device)
            return HttpResponseRedirect(request.get_full_path())
        except syncstore.SignatureDiffers:
            problem = gettext("Sync is on here with another shared store")
        except syncstore.SyncRefused as error:
            problem = sentence_of(error)
    entry = request.session.get(SESSION_ENTRY, {})
    onward = safe_next(request, entry.get("next", ""), INBOX)
    context = {
        "account": account,
        "text": syncstore.request_text(account, request.device),
        "problem": problem,
        "skip": after_signing(onward, entry.get("signer", "")),
    }
    status = 422 if problem else 200
    return render(request, "dashboard/key_ask.html", context, status=status)


@member
@require_http_methods(["GET", "HEAD", "POST"])
@require_recent_signature(_("Giving the keys of the shared store to another server"))
def give_key(request: MemberRequest) -> HttpResponse:
    """On the server that has the stores: read the request, then seal the keys to it."""
    text = request.POST.get("request", "")
    wanted, answer, problem = None, "", ""
    try:
        if request.POST.get("confirm") == "yes":
            answer = syncstore.give_keys(text, request.device)
        elif request.method == "POST":
            wanted, _account = syncstore.read_key_request(text, request.device)
    except syncstore.SyncRefused as error:
        problem = sentence_of(error)
    return page(
        request,
        "key_give",
        section=SECTION,
        status=422 if problem else 200,
        text=text[:MAX_TEXT_LENGTH],
        wanted=wanted,
        answer=answer,
        problem=problem,
    )


def sentence_of(error: syncstore.SyncRefused) -> str:
    """The error in the language of the page; errors of services are in English."""
    kind = error.kind if isinstance(error, syncstore.LinkRefused) else ""
    return str(LINK_PROBLEMS.get(kind, error))
