"""The second step of a sign-in: the signature that turns Sync on for this device.

On the first device it may be asked for twice and compared; on a further one, a signature that
differs leads to the offer of a one-time code (``linking.py``) or of a new group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods

from accounts.models import Account
from accounts.services import audit
from dashboard.access import member, safe_next
from dashboard.keys import parse_pk
from dashboard.pages.signing import (
    CHECK,
    JOIN,
    NEW_GROUP,
    NEW_GROUP_EFFECTS,
    SHARE,
    SignInProblem,
    Step,
)
from dashboard.reasons import translate_reason
from dashboard.views.sign_in import (
    INBOX,
    SESSION_ENTRY,
    after_signing,
    problem_of,
    sign_page,
)
from identity import services as identity
from identity.services.errors import MalformedSignature, TextDiffers
from syncstore import services as syncstore
from walletconnect.errors import RemoteProtocolError

if TYPE_CHECKING:
    from dashboard.access import MemberRequest

# What the first of two signatures was, to compare the second with.
CHECK_ENTRY: Final = "sync-check"


@member
@require_http_methods(["GET", "HEAD", "POST"])
def share(request: MemberRequest) -> HttpResponse:
    account = own_account(request)
    if request.method != "POST":
        return _share_page(request, account)
    try:
        signature = identity.canonical_signature(request.POST.get("signature", ""))
        if not syncstore.is_enabled(account):
            answer = _compared(request, account, signature)
            if answer is not None:
                return answer
        syncstore.enable_sync(account, signature, request.device)
    except syncstore.SignatureDiffers as error:
        title = gettext("This wallet signs differently each time")
        problem = SignInProblem(
            title, translate_reason(error), tone="warn", differs=True
        )
        return _share_page(request, account, problem=problem)
    except syncstore.SyncRefused as error:
        problem = SignInProblem(gettext("Sync is not on"), translate_reason(error))
        return _share_page(request, account, problem=problem)
    except (MalformedSignature, RemoteProtocolError) as error:
        return _share_page(request, account, problem=mismatch(request, account, error))
    return sync_is_on(request, account)


def sync_is_on(request: MemberRequest, account: Account) -> HttpResponse:
    """The end of the sign-in: this device is in the account's store."""
    entry = request.session.pop(SESSION_ENTRY, {})
    request.session.pop(CHECK_ENTRY, None)
    messages.success(
        request, gettext("Sync is on for %(account)s.") % {"account": account.short}
    )
    onward = safe_next(request, entry.get("next", ""), INBOX)
    return HttpResponseRedirect(after_signing(onward, entry.get("signer", "")))


def _compared(
    request: MemberRequest, account: Account, signature: str
) -> HttpResponse | None:
    """On the first device: whether the wallet signs the same text equally twice.

    None once it does, or if the user did not choose the check. Otherwise a second device could never join by
    a signature, which is better known before the store exists.
    """
    fingerprint = syncstore.fingerprint_of(account, signature)
    if request.POST.get("check") == "yes":
        first = {"account": account.pk, "fingerprint": fingerprint}
        request.session[CHECK_ENTRY] = first
        return HttpResponseRedirect(request.get_full_path())
    first = request.session.get(CHECK_ENTRY, {})
    is_second = request.POST.get("compare") == "yes"
    if not is_second or first.get("account") != account.pk:
        return None
    if first["fingerprint"] == fingerprint:
        return None
    del request.session[CHECK_ENTRY]
    audit("sync.signature-differs", device=request.device, account=account)
    problem = SignInProblem(
        gettext("This wallet signs differently each time"),
        gettext(
            "Both signatures are good, but not equal. You can turn Sync on nevertheless: "
            "other devices on this server then join with a one-time code instead of a "
            "signature. Wallets elsewhere cannot join."
        ),
        tone="warn",
        anyway=signature,
    )
    return _share_page(request, account, problem=problem)


# --- a new group ----------------------------------------------------------------------


@member
@require_http_methods(["GET", "HEAD", "POST"])
def new_group(request: MemberRequest) -> HttpResponse:
    """Explain what a new group of devices means, and start it with one signature."""
    account = own_account(request)
    if not syncstore.is_enabled(account):
        share_url = f"{reverse('dashboard:sign-in-share')}?account={account.pk}"
        return HttpResponseRedirect(share_url)
    if request.method != "POST":
        return _share_page(request, account, step=NEW_GROUP)
    try:
        signature = identity.canonical_signature(request.POST.get("signature", ""))
        syncstore.start_new_group(account, signature, request.device)
    except syncstore.SyncRefused as error:
        problem = SignInProblem(
            gettext("There is no new group"), translate_reason(error)
        )
        return _share_page(request, account, step=NEW_GROUP, problem=problem)
    except (MalformedSignature, RemoteProtocolError) as error:
        problem = mismatch(request, account, error)
        return _share_page(request, account, step=NEW_GROUP, problem=problem)
    return sync_is_on(request, account)


def mismatch(
    request: MemberRequest, account: Account, error: Exception
) -> SignInProblem:
    """Why the second signature does not match. Often only white space was added."""
    if identity.is_contract_wallet(account):
        title = gettext("Sync needs a wallet with a key of its own")
        text = gettext(
            "The sync key is derived from a signature that the wallet repeats exactly, "
            "which a smart-contract wallet cannot promise. Skip this step."
        )
        return SignInProblem(title, text, tone="warn")
    if not isinstance(error, MalformedSignature):
        signature = identity.canonical_signature(request.POST.get("signature", ""))
        text = syncstore.message_to_sign(account)
        added = identity.added_white_space(text, account.chain_address, signature)
        if added:
            address = account.chain_address
            return problem_of(TextDiffers(added, signed_by=address, expected=address))
    text = gettext(
        "It must be the signature of exactly the text below, by this account."
    )
    return SignInProblem(
        gettext("This signature does not fit"), f"{text} ({translate_reason(error)})"
    )


def own_account(request: MemberRequest) -> Account:
    wanted = parse_pk(request.GET.get("account", ""))
    owned = Account.objects.of_user(request.user.pk)
    found = owned.filter(pk=wanted).first() if wanted is not None else None
    if found is None:
        raise Http404
    return found


def _share_page(
    request: MemberRequest,
    account: Account,
    *,
    step: Step | None = None,
    problem: SignInProblem | None = None,
) -> HttpResponse:
    entry = request.session.get(SESSION_ENTRY, {})
    is_first = not syncstore.is_enabled(account)
    checks = request.session.get(CHECK_ENTRY, {}).get("account") == account.pk
    if step is None and is_first:
        step = CHECK if checks else SHARE
    return sign_page(
        request,
        step or JOIN,
        account=account.chain_address,
        message=syncstore.message_to_sign(account),
        problem=problem,
        account_pk=account.pk,
        # Signing twice is worth it where signers are least known.
        offers_check=step is SHARE and entry.get("signer") != "demo",
        checked=entry.get("signer", "elsewhere") == "elsewhere",
        compares=step is CHECK,
        joins=step is None,
        effects=NEW_GROUP_EFFECTS if step is NEW_GROUP else (),
    )
