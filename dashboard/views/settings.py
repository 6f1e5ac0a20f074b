"""``/settings``: the person's accounts, and how the pages look."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from django.conf import settings as django_settings
from django.contrib import messages
from django.contrib.auth import logout
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts import services as accounts
from accounts.models import Account
from dashboard import appearance
from dashboard.access import member, public, safe_next, to_sign_again
from dashboard.frame import accounts_of, page
from dashboard.views.responses import Confirmation, confirmation, done

if TYPE_CHECKING:
    from django.http import HttpRequest

    from dashboard.access import MemberRequest

SECTION = "settings"


@member
@require_safe
def settings(request: MemberRequest) -> HttpResponse:
    return page(
        request,
        "settings",
        section=SECTION,
        is_fresh=accounts.is_fresh(request.device),
        themes=appearance.THEMES,
        densities=appearance.DENSITIES,
        shortcuts_off=request.COOKIES.get("shortcuts") == "off",
        keys_server=django_settings.KEYS_SERVER_URL,
    )


@member
@require_POST
def account_label(request: MemberRequest, pk: int) -> HttpResponse:
    account = _owned(request, pk)
    accounts.label_account(account, request.POST.get("label", ""))
    return done(request, "The name was saved.", otherwise=reverse("dashboard:settings"))


@member
@require_http_methods(["GET", "HEAD", "POST"])
def account_remove(request: MemberRequest, pk: int) -> HttpResponse:
    """Delete the account and everything of it. Needs a signature of the last minutes."""
    account = _owned(request, pk)
    if not accounts.is_fresh(request.device):
        return to_sign_again(request, "Removing an account")
    is_last = accounts_of(request.user.pk) == [account]
    asked = Confirmation(
        title=f"Remove {account.label or account.short}?",
        button="Remove this account",
        cancel=reverse("dashboard:settings"),
        effects=(
            "Its subscriptions, notifications, keys and sync log are deleted from this "
            "server for good. Dapps are told that it left.",
            "Other wallets and servers that share its store keep what they have.",
            "It is your only account here, so you are signed out on every device."
            if is_last
            else "Your other accounts stay as they are.",
        ),
        tick=f"Remove everything of {account.short}",
    )
    if request.method != "POST":
        return confirmation(request, SECTION, asked)
    if request.POST.get("confirm") != "yes":
        asked = replace(asked, problem="Tick the box to confirm that everything goes.")
        return confirmation(request, SECTION, asked, status=422)
    accounts.remove_account(account, by=request.device)
    messages.success(request, f"{account.short} and everything of it was removed.")
    if is_last:
        logout(request)
        return HttpResponseRedirect(reverse("dashboard:landing"))
    return HttpResponseRedirect(reverse("dashboard:settings"))


def _owned(request: MemberRequest, pk: int) -> Account:
    found = Account.objects.of_user(request.user.pk).filter(pk=pk).first()
    if found is None:
        raise Http404
    return found


@public
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """The look is a cookie: it works before anybody signs in, and for each browser."""
    response = HttpResponseRedirect(
        safe_next(request, request.POST.get("next", ""), reverse("dashboard:landing"))
    )
    choices = (
        ("theme", appearance.THEME_COOKIE, appearance.THEMES),
        ("density", appearance.DENSITY_COOKIE, appearance.DENSITIES),
        ("shortcuts", "shortcuts", ("on", "off")),
    )
    for name, cookie, known in choices:
        value = request.POST.get(name, "")
        if value in known:
            response.set_cookie(
                cookie,
                value,
                max_age=appearance.YEAR_S,
                samesite="Lax",
                secure=django_settings.SESSION_COOKIE_SECURE,
            )
    return response
