"""``/discover``: the directory of dapps, the domain check, and subscribing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.views.decorators.http import require_POST, require_safe

from accounts.models import Account
from common import limits
from common.dapp_urls import NotAnAddress, parse_dapp_url
from dashboard.access import member, or_404
from dashboard.frame import frame_of, page
from dashboard.keys import parse_pk
from dashboard.pages import discover as pages
from dashboard.pages import domain_check
from dashboard.reasons import translate_reason
from subscriptions import services
from subscriptions.services.errors import AlreadySubscribed, SubscriptionRefused

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from dashboard.access import MemberRequest
    from dashboard.pages.discover import DappCard
    from subscriptions.models import DomainCheck

SECTION = "discover"
MAX_SEARCH_LENGTH = 64


@member
@require_safe
def discover(request: MemberRequest) -> HttpResponse:
    frame = frame_of(request, SECTION)
    text = request.GET.get("q", "").strip()[:MAX_SEARCH_LENGTH]
    cards = pages.directory(request.user.pk, text=text, account_pk=frame.account_pk)
    return page(
        request, "discover", section=SECTION, frame=frame, cards=cards, text=text
    )


@member
@require_safe
def choose(request: MemberRequest) -> HttpResponse:
    """A dapp's types, and the form that subscribes to it.

    A dapp that is not hosted here is checked first; if that takes long, the response
    redirects to the page of the check.
    """
    try:
        url = str(parse_dapp_url(request.GET.get("url", "")))
    except NotAnAddress as error:
        messages.error(request, translate_reason(error))
        return redirect("dashboard:discover")
    card = pages.card_of_url(request.user.pk, url)
    if card is not None and card.is_hosted:
        return _choose_page(request, url, card=card)
    verdict = limits.consume("domain_check", f"user:{request.user.pk}")
    if not verdict.allowed:
        return _too_many(request, verdict.retry_after)
    try:
        check = services.start_check(request.user, url)
    except services.TooMany as error:
        return _too_many(request, error.retry_after or 1)
    except services.DappUnusable as error:
        messages.error(request, translate_reason(error))
        return redirect("dashboard:discover")
    domain_check.wait_for(check)
    if check.finished_at is None:
        there = reverse("dashboard:domain-check", args=[check.pk])
        return HttpResponseRedirect(f"{there}?{request.GET.urlencode()}")
    return _choose_page(request, url, check=check)


@member
@require_safe
def check(request: MemberRequest, check_id: UUID) -> HttpResponse:
    """The report of a domain check, live while it runs, then the dapp's types."""
    found = or_404(domain_check.check_of(request.user.pk, check_id))
    return _choose_page(request, found.url, check=found)


def _choose_page(
    request: MemberRequest,
    url: str,
    *,
    card: DappCard | None = None,
    check: DomainCheck | None = None,
) -> HttpResponse:
    frame = frame_of(request, SECTION)
    report = None
    offered = card
    if check is not None:
        check.refresh_from_db()
        report = domain_check.report_on(check)
        card = pages.card_of_url(request.user.pk, url)
        offered = report.as_card()
        if offered is None and report.check.finished_at and card and card.is_kept:
            # Subscribing uses the last valid copy of the documents, so offer the same.
            offered = card
    taken = card.accounts if card else set()
    # After an error the form shows the types that were chosen before.
    chosen = request.GET.getlist("type") if "chosen" in request.GET else None
    max_types = settings.LIMITS.scopes_per_subscription
    if chosen is None and offered is not None:
        chosen = [each.name for each in offered.types[:max_types]]
    return page(
        request,
        "choose",
        section=SECTION,
        frame=frame,
        url=url,
        card=card,
        report=report,
        offered=offered,
        free_accounts=[each for each in frame.accounts if each.pk not in taken],
        chosen=chosen,
        max_types=max_types,
        again=f"{reverse('dashboard:discover-choose')}?{urlencode({'url': url})}",
    )


def _too_many(request: MemberRequest, retry_after: int) -> HttpResponse:
    response = page(
        request, "too_many", section=SECTION, status=429, retry_after=retry_after
    )
    response.headers["Retry-After"] = str(retry_after)
    return response


@member
@require_POST
def subscribe(request: MemberRequest) -> HttpResponse:
    pk = parse_pk(request.POST.get("account", ""))
    owned = Account.objects.of_user(request.user.pk)
    account = owned.filter(pk=pk).first() if pk is not None else None
    url = request.POST.get("url", "")
    wanted = set(request.POST.getlist("type"))
    back = choose_url(url, sorted(wanted), account=account)
    if account is None or not wanted:
        messages.error(request, gettext("Choose an account and at least one type."))
        return HttpResponseRedirect(back)
    try:
        attempt = services.subscribe(account, url, types=wanted, device=request.device)
    except AlreadySubscribed as error:
        return redirect("dashboard:subscription", error.subscription.topic)
    except SubscriptionRefused as error:
        messages.error(request, translate_reason(error))
        return HttpResponseRedirect(back)
    return redirect("dashboard:attempt", attempt.pk)


def choose_url(url: str, types: Iterable[str], *, account: Account | None) -> str:
    """URL of the dapp's page with these types and this account preselected."""
    query = [("url", url), ("chosen", "yes"), *(("type", name) for name in types)]
    if account is not None:
        query.append(("account", str(account.pk)))
    return f"{reverse('dashboard:discover-choose')}?{urlencode(query)}"
