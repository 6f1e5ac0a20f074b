"""``/settings``: the user's accounts, and the appearance and language of the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings as django_settings
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts import services as accounts
from accounts.models import Account
from dashboard import appearance
from dashboard.access import member, public, redirect_to_sign_again, safe_next
from dashboard.frame import accounts_of, page
from dashboard.pages.alerts import alerts_section
from dashboard.views.responses import confirmation, done

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
        languages=appearance.LANGUAGES,
        shortcuts_off=request.COOKIES.get("shortcuts") == "off",
        keys_server=django_settings.KEYS_SERVER_URL,
        alerts=alerts_section(
            request.user, request.device, appearance.zone_of(request.COOKIES)
        ),
    )


@member
@require_POST
def account_label(request: MemberRequest, pk: int) -> HttpResponse:
    account = _owned(request, pk)
    accounts.label_account(account, request.POST.get("label", ""))
    return done(
        request,
        gettext("The name was saved."),
        default=reverse("dashboard:settings"),
    )


@member
@require_http_methods(["GET", "HEAD", "POST"])
def account_remove(request: MemberRequest, pk: int) -> HttpResponse:
    """Delete the account and its data. Needs a recent signature."""
    account = _owned(request, pk)
    if not accounts.is_fresh(request.device):
        return redirect_to_sign_again(request, gettext("Removing an account"))
    is_last = accounts_of(request.user.pk) == [account]
    if request.POST.get("confirm") != "yes":
        return confirmation(
            request,
            SECTION,
            title=gettext("Remove %(account)s?")
            % {"account": account.label or account.short},
            button=gettext("Remove this account"),
            cancel=reverse("dashboard:settings"),
            effects=(
                gettext(
                    "Its subscriptions, notifications, keys and sync log are deleted from "
                    "this server for good, and it is unsubscribed from all dapps."
                ),
                gettext(
                    "Other wallets and servers that share its store keep their data."
                ),
                gettext(
                    "It is your only account here, so you are signed out on every device."
                )
                if is_last
                else gettext("Your other accounts stay as they are."),
            ),
            tick=gettext("Remove all data of %(account)s") % {"account": account.short},
        )
    accounts.remove_account(account, by=request.device)
    messages.success(
        request,
        gettext("%(account)s and all its data were removed.")
        % {"account": account.short},
    )
    if is_last:
        logout(request)
        return redirect("dashboard:landing")
    return redirect("dashboard:settings")


def _owned(request: MemberRequest, pk: int) -> Account:
    return get_object_or_404(Account.objects.of_user(request.user.pk), pk=pk)


@public
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Appearance and language are cookies: they apply per browser and before sign-in."""
    response = HttpResponseRedirect(
        safe_next(request, request.POST.get("next", ""), reverse("dashboard:landing"))
    )
    put_off = [
        (name, name, ("later",))
        for name in map(appearance.step_cookie, appearance.STEPS)
    ]
    choices = (
        *put_off,
        ("theme", appearance.THEME_COOKIE, appearance.THEMES),
        ("density", appearance.DENSITY_COOKIE, appearance.DENSITIES),
        ("shortcuts", "shortcuts", ("on", "off")),
        ("language", django_settings.LANGUAGE_COOKIE_NAME, appearance.LANGUAGES),
    )
    for name, cookie, known in choices:
        value = request.POST.get(name, "")
        if value in known:
            response.set_cookie(
                cookie,
                value,
                max_age=appearance.STEP_PUT_OFF_S
                if value == "later"
                else appearance.YEAR_S,
                samesite="Lax",
                secure=django_settings.SESSION_COOKIE_SECURE,
            )
    return response
