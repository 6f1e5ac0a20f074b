"""Who may open a page. Every view declares its rule; a test walks all addresses.

reliability.md, item 23: absent and forbidden look the same, so a member who asks for what is
not theirs gets the 404 of a thing that is not there.
"""

from __future__ import annotations

import functools
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme

from accounts import services as accounts
from dashboard import appearance

if TYPE_CHECKING:
    from collections.abc import Callable

    from accounts.models import Device, User

ACCESS_RULE = "access_rule"


class Rule(StrEnum):
    PUBLIC = "public"
    MEMBER = "member"
    STAFF = "staff"


class MemberRequest(HttpRequest):
    """A request of a signed-in person from a device that is not revoked."""

    user: User
    device: Device


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
            return to_sign_in(request)
        own_request = cast("MemberRequest", request)
        own_request.device = device
        with timezone.override(appearance.zone_of(request.COOKIES)):
            response = view(own_request, *args, **kwargs)
        # Pages hold what belongs to one person: no cache may keep them.
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


def fresh(
    act: str, *, back: str = ""
) -> Callable[[Callable[..., HttpResponse]], Callable[..., HttpResponse]]:
    """Below ``member``: a wallet must have signed on this device in the last ten minutes.

    ``act`` begins the sentence that explains it ("Closing a project"). The person signs
    and comes back to this page, or to the page named ``back`` where this address shows
    none; nothing is carried out without another press.
    """

    def decorate(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @functools.wraps(view)
        def guarded(request: MemberRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if accounts.is_fresh(request.device):
                return view(request, *args, **kwargs)
            return to_sign_again(request, act, back=_address_of(back, args))

        return guarded

    return decorate


def _address_of(name: str, args: tuple[Any, ...]) -> str:
    """The page of that name; pages of a project are found by its slug."""
    if not name:
        return ""
    slugs = [each.slug for each in args if hasattr(each, "slug")]
    return reverse(f"dashboard:{name}", args=slugs)


def to_sign_again(request: HttpRequest, act: str, *, back: str = "") -> HttpResponse:
    messages.warning(request, f"{act} needs a signature of the last ten minutes.")
    query = urlencode({"next": back or request.path})
    return HttpResponseRedirect(f"{reverse('dashboard:sign-in-again')}?{query}")


def demo_only(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Below ``public`` or ``member``: there is no such page outside demo mode."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not settings.DEMO:
            raise Http404
        return view(request, *args, **kwargs)

    return guarded


def device_of(request: HttpRequest) -> Device | None:
    """The device of this browser session; a session whose device is revoked is over."""
    if not request.user.is_authenticated or not request.session.session_key:
        return None
    device = accounts.device_of_session(request.session.session_key)
    if device is None or device.user_id != request.user.pk:
        logout(request)
        messages.info(request, "This device was signed out. Sign in to use it again.")
        return None
    return device


def to_sign_in(request: HttpRequest) -> HttpResponse:
    here = request.get_full_path() if request.method == "GET" else "/inbox"
    url = f"{settings.LOGIN_URL}?{urlencode({'next': here})}"
    if getattr(request, "htmx", False):
        return HttpResponse(headers={"HX-Redirect": url})
    return HttpResponseRedirect(url)


def safe_next(request: HttpRequest, wanted: str, otherwise: str) -> str:
    """Where to go on: only to pages of this site."""
    hosts = {request.get_host()}
    if wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, hosts):
        return wanted
    return otherwise
