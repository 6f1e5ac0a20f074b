"""Sign-in: choose a signer, sign the login, sign the text that turns Sync on.

Browser wallets, phone wallets, the demo wallet and pasted signatures use the same pages and forms; scripts
only fill them in. So sign-in works without JavaScript.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts import services as accounts
from accounts.models import Account, SignInRequest
from common import limits
from common.clients import rate_key
from common.pasting import bare_text
from common.problems import ProblemError
from common.public_api import too_many
from dashboard.access import (
    device_of,
    member,
    public,
    redirect_to_sign_again,
    safe_next,
)
from dashboard.keys import parse_pk
from dashboard.pages.phone import allow_relay, relay_context
from dashboard.pages.signing import (
    PROVE,
    PYTHON_COMMAND,
    SignInProblem,
    Step,
)
from dashboard.reasons import translate_reason
from identity import services as identity
from identity.services.errors import (
    ChainUnavailable,
    SignInError,
    TextDiffers,
)
from syncstore import services as syncstore
from walletconnect.identity.did import AccountId

if TYPE_CHECKING:
    from accounts.models import Device
    from dashboard.access import MemberRequest

SIGNERS: Final = ("wallet", "phone", "demo", "elsewhere")
SESSION_ENTRY: Final = "signing"
BACKEND: Final = "django.contrib.auth.backends.ModelBackend"
INBOX: Final = "/inbox"
MAX_ADDRESS_LENGTH: Final = 168


# --- choosing a signer ----------------------------------------------------------------


@public
@require_safe
def sign_in(request: HttpRequest) -> HttpResponse:
    return _choose(request)


@member
@require_safe
def sign_in_again(request: MemberRequest) -> HttpResponse:
    """Sign again before a sensitive action, then return to it."""
    return _choose(request, again=True)


def _choose(
    request: HttpRequest,
    *,
    address: str = "",
    address_error: str = "",
    form_error: str = "",
    again: bool = False,
    status: int = 200,
) -> HttpResponse:
    wanted = request.POST.get("next") or request.GET.get("next", "")
    device = device_of(request)
    own = Account.objects.of_user(device.user_id).order_by("pk") if device else []
    return render(
        request,
        "dashboard/sign_in.html",
        {
            "adding": device is not None and not again,
            "again": again,
            "own_accounts": own,
            "demo": settings.DEMO,
            "start_demo": settings.DEMO and request.GET.get("start") == "demo",
            "next": safe_next(request, wanted, INBOX),
            "address": address,
            "address_error": address_error,
            "form_error": form_error,
        },
        status=status,
    )


@public
@require_POST
def begin(request: HttpRequest) -> HttpResponse:
    """Create the text to sign for the entered address."""
    signer = request.POST.get("signer", "")
    if signer not in SIGNERS or (signer == "demo" and not settings.DEMO):
        raise Http404
    address = bare_text(request.POST.get("address", ""))[:MAX_ADDRESS_LENGTH]
    if request.session.session_key is None:
        request.session.create()
    device = device_of(request)
    again = device is not None and request.POST.get("again") == "yes"
    account = caip10(address)
    users = Account.objects.at(account).filter(user=device.user) if device else []
    own = next(iter(users), None)
    is_own = own is not None
    if own is not None and identity.is_contract_wallet(own):
        # Pages and wallets give the address alone, but this contract is on one chain.
        account = own.address
    if again and not is_own:
        error = gettext("This is not an account of your inbox. Choose one that is.")
        return _choose(
            request, address=address, address_error=error, again=True, status=422
        )
    if device is not None and not is_own and not accounts.is_fresh(device):
        # An added account can sign in as this user from then on.
        here = reverse("dashboard:sign-in")
        return redirect_to_sign_again(request, gettext("Adding an account"), back=here)
    try:
        wanted = identity.begin_sign_in(
            str(request.session.session_key),
            account=account,
            origin=f"{request.scheme}://{request.get_host()}",
            user=device.user if device else None,
        )
    except SignInError as error:
        return _choose(
            request, address=address, address_error=translate_reason(error), status=422
        )
    request.session[SESSION_ENTRY] = {
        "nonce": wanted.nonce,
        "signer": signer,
        "wallet": request.POST.get("wallet", "")[:128],
        "next": safe_next(request, request.POST.get("next", ""), INBOX),
        "again": again,
    }
    return redirect("dashboard:sign-in-prove")


def caip10(address: str) -> str:
    """Complete a bare address or an EIP-681 link to a CAIP-10 account.

    Ethereum addresses get chain 1: the text for Sync contains the chain, so all devices
    must use the same one.
    """
    address = address.removeprefix("ethereum:").partition("@")[0]
    if address.startswith(("0x", "0X")):
        return f"eip155:1:0x{address[2:]}"
    return address


# --- step 1 ---------------------------------------------------------------------------


@public
@require_http_methods(["GET", "HEAD", "POST"])
def prove(request: HttpRequest) -> HttpResponse:
    wanted = _wanted(request)
    if wanted is None:
        return redirect("dashboard:sign-in")
    if request.method != "POST":
        return _prove_page(request, wanted)
    left = limits.consume("failed_sign_in", client_key(request), cost=0)
    if left.remaining < 1:
        raise _too_many(replace(left, allowed=False, retry_after=60))
    try:
        device = identity.complete_sign_in(
            str(request.session.session_key),
            nonce=wanted.nonce,
            signature=request.POST.get("signature", ""),
            user_agent=request.headers.get("User-Agent", ""),
            device=device_of(request),
        )
    except ChainUnavailable as error:
        # No fault of the person's; `signature_check` limits how often a chain is asked.
        problem = SignInProblem(
            gettext("The signature cannot be checked now"),
            translate_reason(error),
            tone="warn",
            retry=request.POST.get("signature", ""),
        )
        return _prove_page(request, wanted, problem=problem)
    except SignInError as error:
        # Guessing for one account from many addresses is limited, too. The right signature
        # still passes, so that a stranger's failures do not lock the owner out.
        account_key = f"account:{AccountId.parse(wanted.address).key}"
        _, verdict = limits.consume_all(
            "failed_sign_in", [client_key(request), account_key]
        )
        if not verdict.allowed:
            raise _too_many(verdict) from None
        return _prove_page(request, wanted, problem=problem_of(error))
    except accounts.AccountTaken as error:
        problem = SignInProblem(
            gettext("This account is taken"), translate_reason(error)
        )
        return _prove_page(request, wanted, problem=problem)
    return _signed_in(request, wanted, device)


def _wanted(request: HttpRequest) -> SignInRequest | None:
    nonce = request.session.get(SESSION_ENTRY, {}).get("nonce", "")
    return SignInRequest.objects.filter(nonce=nonce).first() if nonce else None


def _prove_page(
    request: HttpRequest, wanted: SignInRequest, *, problem: SignInProblem | None = None
) -> HttpResponse:
    return sign_page(
        request,
        PROVE,
        account=wanted.address.rpartition(":")[2],
        # Without the chain that `caip10` would complete.
        wanted_address=wanted.address.removeprefix("eip155:1:"),
        message=wanted.message,
        problem=problem,
    )


def sign_page(
    request: HttpRequest,
    step: Step,
    *,
    account: str,
    message: str,
    problem: SignInProblem | None,
    **context: object,
) -> HttpResponse:
    entry: dict[str, Any] = request.session.get(SESSION_ENTRY, {})
    signer = entry.get("signer", "elsewhere")
    again = bool(entry.get("again")) and step.number == 1
    # The wallet's prompt opens by itself for the first text only: a second prompt right
    # after the first confuses users. The demo wallet has no prompt.
    auto = problem is None and (
        signer == "demo" or (signer in ("wallet", "phone") and step.number == 1)
    )
    onward = safe_next(request, entry.get("next", ""), INBOX)
    other_way = reverse("dashboard:sign-in")
    if again:
        query = urlencode({"next": onward})
        other_way = f"{reverse('dashboard:sign-in-again')}?{query}"
    response = render(
        request,
        "dashboard/sign.html",
        {
            "step": step,
            "account": account,
            "message": message,
            "signer": signer,
            "wallet": entry.get("wallet", ""),
            "auto": auto,
            "problem": problem,
            "next": onward,
            "skip": after_signing(onward, signer),
            "other_way": after_signing(other_way, signer),
            "again": again,
            "python_command": PYTHON_COMMAND,
            **(relay_context() if signer == "phone" else {}),
            **context,
        },
        status=422 if problem else 200,
    )
    return allow_relay(response) if signer == "phone" else response


def after_signing(onward: str, signer: str) -> str:
    """Where the last signature leads: a session with a phone wallet ends on the way."""
    if signer != "phone":
        return onward
    return f"{reverse('dashboard:sign-in-phone-end')}?{urlencode({'next': onward})}"


def _signed_in(
    request: HttpRequest, wanted: SignInRequest, device: Device
) -> HttpResponse:
    entry = request.session.get(SESSION_ENTRY, {})
    if accounts.device_of_session(request.session.session_key) is None:
        login(request, device.user, backend=BACKEND)
        accounts.bind_session(device, str(request.session.session_key))
    request.session[SESSION_ENTRY] = {**entry, "nonce": ""}
    onward = safe_next(request, entry.get("next", ""), INBOX)
    if entry.get("again"):
        messages.success(request, gettext("Signed. You can go on for ten minutes."))
        return HttpResponseRedirect(after_signing(onward, entry.get("signer", "")))
    account = Account.objects.at(wanted.address)[0]
    if identity.is_contract_wallet(account):
        # The sync key is derived from a signature that only a key can repeat.
        messages.info(
            request,
            gettext(
                "Signed in as a smart-contract wallet. Sync stays off: it needs a wallet "
                "with a key of its own."
            ),
        )
        return HttpResponseRedirect(after_signing(onward, entry.get("signer", "")))
    return HttpResponseRedirect(
        f"{reverse('dashboard:sign-in-share')}?account={account.pk}"
    )


def problem_of(error: SignInError) -> SignInProblem:
    if isinstance(error, TextDiffers):
        added = gettext(" and ").join(map(translate_reason, error.added))
        return SignInProblem(
            gettext("The signed text contained additional characters"),
            gettext(
                "Your account signed this text with %(added)s, which makes it another "
                "text: everybody else checks the signature against the text without it. "
                "Sign the same text once more, exactly as it is here; it is still valid. "
                "The copy button beside it and the download add nothing."
            )
            % {"added": added},
        )
    titles = {
        "contract-refused": gettext("The wallet's contract does not accept this"),
        "no-chain-endpoint": gettext("This chain cannot be checked here"),
        "wrong-signer": gettext("Another account signed"),
        "malformed-signature": gettext("This is not a signature"),
        "request-expired": gettext("The text is too old"),
        "request-used": gettext("The text was used already"),
        "other-browser": gettext("The text belongs to another browser"),
    }
    again = error.kind in {"request-expired", "request-used", "other-browser"}
    return SignInProblem(
        titles.get(error.kind, gettext("That did not work")),
        translate_reason(error),
        again=again,
    )


# --- texts as files -------------------------------------------------------------------


@public
@require_safe
def text_file(request: HttpRequest, number: int) -> HttpResponse:
    """The text to sign as a file, byte for byte, for command-line signers."""
    if number == PROVE.number:
        wanted = _wanted(request)
        text = wanted.message if wanted else ""
    else:
        device = device_of(request)
        wanted_pk = parse_pk(request.GET.get("account", ""))
        owned = Account.objects.filter(user=device.user) if device else None
        account = (
            owned.filter(pk=wanted_pk).first()
            if owned is not None and wanted_pk is not None
            else None
        )
        text = syncstore.message_to_sign(account) if account else ""
    if not text:
        raise Http404
    return HttpResponse(
        text,
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="message.txt"'},
    )


# --- limits ---------------------------------------------------------------------------


def client_key(request: HttpRequest) -> str:
    return f"ip:{rate_key(request)}"


def _too_many(verdict: limits.Verdict) -> ProblemError:
    return ProblemError(too_many(verdict), headers=verdict.headers())
