"""``/devices/epoch/<account>``: other keys for the stores and subscriptions of an account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from accounts.models import Account
from dashboard.access import (
    member,
    redirect_to_sign_again,
    require_recent_signature,
)
from dashboard.pages.signing import NEW_EPOCH, NEW_EPOCH_EFFECTS, SignInProblem
from dashboard.reasons import translate_reason
from dashboard.views.sharing import mismatch
from dashboard.views.sign_in import SESSION_ENTRY, sign_page
from identity import services as identity
from identity.services import NoIdentityKey
from identity.services.errors import MalformedSignature
from subscriptions.services import NotYours, start_new_epoch
from syncstore import services as syncstore
from walletconnect.errors import RemoteProtocolError

if TYPE_CHECKING:
    from dashboard.access import MemberRequest

STARTING: Final = _("Starting a new epoch")


@member
@require_http_methods(["GET", "HEAD", "POST"])
@require_recent_signature(STARTING)
def new_epoch(request: MemberRequest, pk: int) -> HttpResponse:
    """Explain what it means, and start it with the Sync signature."""
    account = get_object_or_404(Account.objects.of_user(request.user.pk), pk=pk)
    there = reverse("dashboard:device-list")
    if not syncstore.is_enabled(account):
        return HttpResponseRedirect(there)
    if request.method != "POST":
        if SESSION_ENTRY not in request.session:
            # Which wallet signs is known after a sign-in: choose it, and prove it.
            return redirect_to_sign_again(request, STARTING)
        return _page(request, account)
    try:
        signature = identity.canonical_signature(request.POST.get("signature", ""))
        done = start_new_epoch(account, signature, request.device)
    except syncstore.SignatureDiffers:
        text = gettext(
            "This signature does not lead to the present stores. A wallet that signs "
            "differently each time starts a new group instead."
        )
        problem = SignInProblem(gettext("There is no new epoch"), text, tone="warn")
        return _page(request, account, problem)
    except (syncstore.SyncRefused, NoIdentityKey, NotYours) as error:
        problem = SignInProblem(
            gettext("There is no new epoch"), translate_reason(error)
        )
        return _page(request, account, problem)
    except (MalformedSignature, RemoteProtocolError) as error:
        return _page(request, account, mismatch(request, account, error))
    messages.success(
        request,
        ngettext(
            "Epoch %(epoch)d has begun; %(count)d dapp is subscribed to anew.",
            "Epoch %(epoch)d has begun; %(count)d dapps are subscribed to anew.",
            len(done.resubscribed),
        )
        % {"epoch": done.stores[0].epoch, "count": len(done.resubscribed)},
    )
    for name, reason in done.left.items():
        messages.warning(
            request,
            gettext("%(dapp)s is not subscribed to any more: %(reason)s")
            % {"dapp": name, "reason": reason},
        )
    return HttpResponseRedirect(there)


def _page(
    request: MemberRequest, account: Account, problem: SignInProblem | None = None
) -> HttpResponse:
    return sign_page(
        request,
        NEW_EPOCH,
        account=account.chain_address,
        message=syncstore.message_to_sign(account),
        problem=problem,
        account_pk=account.pk,
        effects=NEW_EPOCH_EFFECTS,
        # The effects are read first, whatever signs.
        auto=False,
    )
