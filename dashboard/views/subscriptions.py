"""``/subscriptions``: the list, one subscription, and the live page of an attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST, require_safe

from dashboard.access import member, or_404
from dashboard.frame import frame_of, page
from dashboard.pages import attempts
from dashboard.pages import subscriptions as pages
from dashboard.reasons import translate_reason
from dashboard.views.discover import choose_url
from dashboard.views.responses import done
from identity.services import NoIdentityKey
from subscriptions import services
from subscriptions.models import BlockedDapp, DappDocument, Subscription
from subscriptions.services.errors import SubscriptionRefused, TypesChanged

if TYPE_CHECKING:
    from uuid import UUID

    from dashboard.access import MemberRequest

SECTION = "subscription-list"
KEY_NOT_REGISTERED = _(
    "This browser's identity key is not registered yet. Try again in a moment."
)


@member
@require_safe
def subscription_list(request: MemberRequest) -> HttpResponse:
    frame = frame_of(request, SECTION)
    rows = pages.subscription_rows(request.user.pk, account_pk=frame.account_pk)
    waiting = attempts.latest_attempts(request.user.pk, only_open=True)
    return page(
        request,
        "subscriptions",
        section=SECTION,
        frame=frame,
        rows=rows,
        blocked=BlockedDapp.objects.filter(account__user_id=request.user.pk)
        .select_related("account")
        .order_by("name", "pk"),
        runs=[attempts.attempt_page(attempt) for attempt in waiting],
    )


@member
@require_safe
def subscription(request: MemberRequest, topic: str) -> HttpResponse:
    unsaved = pages.UnsavedTypes.of(request.GET)
    found = or_404(pages.subscription_page(request.user.pk, topic, unsaved))
    return page(request, "subscription", section=SECTION, shown=found)


@member
@require_POST
def update(request: MemberRequest, topic: str) -> HttpResponse:
    """Request another scope from the dapp (wc_notifyUpdate).

    The form contains the types that were on when it was rendered (``seen``, if it has the
    field ``from``). If another device has changed them since, nothing is sent: the page
    shows both states and keeps the user's choices.
    """
    found = owned_subscription(request, topic)
    wanted = request.POST.getlist("type")
    seen = request.POST.getlist("seen") if "from" in request.POST else None
    there = reverse("dashboard:subscription", args=[topic])
    try:
        services.update(found, set(wanted), request.device, seen=seen)
    except TypesChanged:
        if set(wanted) == found.effective_types:
            # Both devices chose the same types.
            return HttpResponseRedirect(there)
    except SubscriptionRefused as error:
        messages.error(request, translate_reason(error))
    except NoIdentityKey:
        messages.error(request, KEY_NOT_REGISTERED)
    else:
        return HttpResponseRedirect(there)
    query = [("pressed", "yes"), *(("type", name) for name in wanted)]
    if seen is not None:
        query += [("from", "form"), *(("seen", name) for name in seen)]
    return HttpResponseRedirect(f"{there}?{urlencode(query)}")


@member
@require_POST
def delete(request: MemberRequest, topic: str) -> HttpResponse:
    found = owned_subscription(request, topic)
    name = str(found)
    again = choose_url(
        found.dapp_url, sorted(found.effective_types), account=found.account
    )
    try:
        services.delete_subscription(found, request.device)
    except NoIdentityKey:
        messages.error(request, KEY_NOT_REGISTERED)
        return redirect("dashboard:subscription", topic)
    text = format_html(
        '{} <a href="{}">{}</a>',
        gettext("You are no longer subscribed to %(dapp)s.") % {"dapp": name},
        again,
        gettext("Subscribe again"),
    )
    return done(request, text, default=reverse("dashboard:subscription-list"))


@member
@require_POST
def block(request: MemberRequest, topic: str) -> HttpResponse:
    found = owned_subscription(request, topic)
    if services.block(found, request.device):
        text = gettext("%(dapp)s is blocked and is asked to send nothing.")
    else:
        text = gettext("%(dapp)s is blocked here. It could not be asked to stop.")
    there = reverse("dashboard:subscription", args=[topic])
    return done(request, text % {"dapp": found}, default=there)


@member
@require_POST
def unblock(request: MemberRequest, pk: int) -> HttpResponse:
    owned = BlockedDapp.objects.filter(account__user_id=request.user.pk)
    found = get_object_or_404(owned.select_related("account"), pk=pk)
    services.unblock(found, request.device)
    return done(
        request,
        gettext("%(dapp)s is no longer blocked.") % {"dapp": found},
        default=reverse("dashboard:subscription-list"),
    )


@member
@require_POST
def accept_keys(request: MemberRequest, topic: str) -> HttpResponse:
    """Trust the dapp's new keys; they are never accepted without the user."""
    found = owned_subscription(request, topic)
    document = DappDocument.objects.filter(url=found.dapp_url).first()
    if document is None or document.changed_keys is None:
        raise Http404
    services.accept_changed_keys(document, request.device)
    return done(
        request,
        gettext("The new keys of %(dapp)s are trusted from now on.")
        % {"dapp": str(found)},
        default=reverse("dashboard:subscription", args=[topic]),
    )


def owned_subscription(request: MemberRequest, topic: str) -> Subscription:
    owned = Subscription.objects.of_user(request.user.pk).active()
    return or_404(owned.select_related("account").filter(topic=topic).first())


@member
@require_safe
def attempt(request: MemberRequest, attempt_id: UUID) -> HttpResponse:
    found = or_404(attempts.attempt_of(request.user.pk, attempt_id))
    return page(request, "attempt", section=SECTION, run=attempts.attempt_page(found))
