"""``/discover``: the directory of dapps, adding one by its domain, and subscribing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Account
from dashboard.access import member
from dashboard.frame import frame_of, page
from dashboard.keys import key_of
from dashboard.pages import discover as pages
from dashboard.pages.domain_check import (
    NotAnAddress,
    check_domain,
    normalised_dapp_url,
)
from groundwork import limits
from subscriptions import services
from subscriptions.services.errors import AlreadySubscribed, SubscriptionRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dashboard.access import MemberRequest

SECTION = "discover"
LONGEST_SEARCH = 64


@member
@require_safe
def discover(request: MemberRequest) -> HttpResponse:
    frame = frame_of(request, SECTION)
    text = request.GET.get("q", "").strip()[:LONGEST_SEARCH]
    cards = pages.directory(request.user.pk, text=text, account_pk=frame.account_pk)
    return page(
        request, "discover", section=SECTION, frame=frame, cards=cards, text=text
    )


@member
@require_safe
def choose(request: MemberRequest) -> HttpResponse:
    """One dapp: what it offers, and for which account; then Subscribe.

    A dapp that is not registered here is read first, and the report on it is shown.
    """
    try:
        url = normalised_dapp_url(request.GET.get("url", ""))
    except NotAnAddress:
        messages.error(request, "That is not the address of a dapp.")
        return HttpResponseRedirect(reverse("dashboard:discover"))
    frame = frame_of(request, SECTION)
    card = pages.card_of_url(request.user.pk, url)
    report = None
    if card is None or not card.is_ours:
        verdict = limits.take("domain_check", f"user:{request.user.pk}")
        if not verdict.allowed:
            return page(
                request,
                "too_many",
                section=SECTION,
                frame=frame,
                status=429,
                verdict=verdict,
            )
        report = check_domain(url)
    taken = card.accounts if card else set()
    return page(
        request,
        "choose",
        section=SECTION,
        frame=frame,
        url=url,
        card=card,
        report=report,
        offered=card or (report.as_card() if report and report.passed else None),
        free_accounts=[each for each in frame.accounts if each.pk not in taken],
        # What was switched on before; a form that comes back shows it again.
        chosen=request.GET.getlist("type") if "chosen" in request.GET else None,
    )


@member
@require_POST
def subscribe(request: MemberRequest) -> HttpResponse:
    account = _account(request)
    url = request.POST.get("url", "")
    wanted = set(request.POST.getlist("type"))
    back = choose_url(url, sorted(wanted), account=account)
    if account is None or not wanted:
        messages.error(request, "Choose an account and at least one type.")
        return HttpResponseRedirect(back)
    try:
        attempt = services.subscribe(
            account, normalised_dapp_url(url), types=wanted, device=request.device
        )
    except AlreadySubscribed as error:
        return HttpResponseRedirect(
            reverse("dashboard:subscription", args=[error.subscription.topic])
        )
    except (SubscriptionRefused, NotAnAddress) as error:
        messages.error(request, str(error) or "That is not the address of a dapp.")
        return HttpResponseRedirect(back)
    return HttpResponseRedirect(reverse("dashboard:attempt", args=[attempt.pk]))


def choose_url(url: str, types: Iterable[str], *, account: Account | None) -> str:
    """The page of a dapp with these types switched on, and this account chosen."""
    query = [("url", url), ("chosen", "yes"), *(("type", name) for name in types)]
    if account is not None:
        query.append(("account", str(account.pk)))
    return f"{reverse('dashboard:discover-choose')}?{urlencode(query)}"


def _account(request: MemberRequest) -> Account | None:
    wanted = key_of(request.POST.get("account", ""))
    owned = Account.objects.of_user(request.user.pk)
    return owned.filter(pk=wanted).first() if wanted is not None else None
