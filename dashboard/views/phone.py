"""Phone wallets: pair over the relay, then sign on the same pages as with any signer.

The session with the wallet lives in the browser tab (``static/js/phone-wallet.js``). The
server makes the QR code and decides when the session has served its purpose.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext
from django.views.decorators.http import require_POST, require_safe

from dashboard.access import device_of, public, safe_next
from dashboard.pages.phone import allow_relay, relay_context
from dashboard.pages.qr import MAX_TEXT_LENGTH, qr_svg

if TYPE_CHECKING:
    from django.http import HttpRequest

INBOX: Final = "/inbox"
# wc:<topic>@2?relay-protocol=irn&symKey=<hex>&…
PAIRING_URI: Final = re.compile(r"wc:[0-9a-f]{64}@2\?[A-Za-z0-9=&%._~,-]+")


@public
@require_safe
def pair(request: HttpRequest) -> HttpResponse:
    """Show the code that a phone wallet scans."""
    device = device_of(request)
    again = device is not None and request.GET.get("again") == "yes"
    context = {
        "adding": device is not None and not again,
        "again": again,
        "next": safe_next(request, request.GET.get("next", ""), INBOX),
        **relay_context(),
    }
    return allow_relay(render(request, "dashboard/phone.html", context))


@public
@require_POST
def code(request: HttpRequest) -> HttpResponse:
    """The QR code of a pairing that the browser has just created, as SVG."""
    uri = request.POST.get("uri", "")
    if len(uri) > MAX_TEXT_LENGTH or not PAIRING_URI.fullmatch(uri):
        return HttpResponse(
            gettext("This is not a pairing of WalletConnect."),
            status=422,
            content_type="text/plain; charset=utf-8",
        )
    drawn = qr_svg(uri, gettext("QR code for your wallet"))
    response = HttpResponse(drawn, content_type="image/svg+xml; charset=utf-8")
    # It contains the key of the pairing.
    response.headers["Cache-Control"] = "no-store"
    return response


@public
@require_safe
def end(request: HttpRequest) -> HttpResponse:
    """End the session with the wallet, then go on to ``next``."""
    onward = safe_next(request, request.GET.get("next", ""), INBOX)
    context = {"next": onward, **relay_context()}
    return allow_relay(render(request, "dashboard/phone_end.html", context))
