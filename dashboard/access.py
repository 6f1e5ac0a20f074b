"""Access rules of the views. Every view declares one; a test requests every URL.

A member who requests another person's object gets 404, not 403: the response must not
reveal that the object exists.
"""

from __future__ import annotations

import functools
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext

from accounts import services as accounts
from common.clients import client_address, shortened
from dashboard import appearance

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_stubs_ext import StrPromise

    from accounts.models import Device, User

ACCESS_RULE = "access_rule"

_Found = TypeVar("_Found")


class Rule(StrEnum):
    PUBLIC = "public"
    MEMBER = "member"
    STAFF = "staff"


class MemberRequest(HttpRequest):
    """A request of a signed-in user from a device that is not revoked."""

    user: User
    device: Device


def or_404(found: _Found | None) -> _Found:
    if found is None:
        raise Http404
    return found


def public(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with timezone.override(appearance.zone_of(request.COOKIES)):
            return view(request, *args, **kwargs)

    setattr(guarded, ACCESS_RULE, Rule.PUBLIC)
    return guarded


def member(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        device = device_of(request)
        if device is None:
            return redirect_to_sign_in(request)
        own_request = cast("MemberRequest", request)
        own_request.device = device
        if not device.first_network:
            accounts.note_network(device, shortened(client_address(request)))
        with (
            timezone.override(appearance.zone_of(request.COOKIES)),
            accounts.called_by(device),
        ):
            response = view(own_request, *args, **kwargs)
        # Pages contain one user's private data; shared caches must not store them.
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    setattr(guarded, ACCESS_RULE, Rule.MEMBER)
    return guarded


def staff(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    @functools.wraps(view)
    def guarded(request: MemberRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_staff:
            raise Http404
        return view(request, *args, **kwargs)

    outer = member(guarded)
    setattr(outer, ACCESS_RULE, Rule.STAFF)
    return outer


def require_recent_signature(
    action: StrPromise, *, back: str = ""
) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponse]]:
    """Below ``member``: a wallet must have signed on this device in the last ten minutes.

    ``action`` names the operation in the explanation ("Closing a project"). After
    signing, the user returns to this URL, or to the page named ``back`` if this URL
    accepts POST only. The form has to be submitted again: a redirect carries no POST.
    """

    def decorate(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @functools.wraps(view)
        def guarded(request: MemberRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if accounts.is_fresh(request.device):
                return view(request, *args, **kwargs)
            slugs = [each.slug for each in args if hasattr(each, "slug")]
            url = reverse(f"dashboard:{back}", args=slugs) if back else ""
            return redirect_to_sign_again(request, action, back=url)

        return guarded

    return decorate


def redirect_to_sign_again(
    request: HttpRequest, action: StrPromise | str, *, back: str = ""
) -> HttpResponse:
    messages.warning(
        request,
        gettext("%(action)s needs a signature of the last ten minutes.")
        % {"action": action},
    )
    query = urlencode({"next": back or request.path})
    return HttpResponseRedirect(f"{reverse('dashboard:sign-in-again')}?{query}")


def demo_only(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Below ``public`` or ``member``: the view returns 404 outside demo mode."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not settings.DEMO:
            raise Http404
        return view(request, *args, **kwargs)

    return guarded


def device_of(request: HttpRequest) -> Device | None:
    """The device of this browser session. If it was revoked, the session is logged out."""
    if not request.user.is_authenticated or not request.session.session_key:
        return None
    device = accounts.device_of_session(request.session.session_key)
    if device is None or device.user_id != request.user.pk:
        logout(request)
        messages.info(
            request, gettext("This device was signed out. Sign in to use it again.")
        )
        return None
    return device


def redirect_to_sign_in(request: HttpRequest) -> HttpResponse:
    here = request.get_full_path() if request.method == "GET" else "/inbox"
    url = f"{settings.LOGIN_URL}?{urlencode({'next': here})}"
    if getattr(request, "htmx", False):
        return HttpResponse(headers={"HX-Redirect": url})
    return HttpResponseRedirect(url)


def safe_next(request: HttpRequest, url: str, default: str) -> str:
    """``url`` if it is a path of this site, otherwise ``default`` (no open redirect)."""
    hosts = {request.get_host()}
    if url.startswith("/") and url_has_allowed_host_and_scheme(url, hosts):
        return url
    return default
