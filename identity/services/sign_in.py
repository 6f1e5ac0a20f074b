"""Signing in: one signature is the login and the identity authorisation of the device.

Spec: CAIP-122 / EIP-4361; protocol.md, section 7; ux.md, 3.6; reliability.md, items 13 and 16.

    begin_sign_in     a fresh identity key, and the text that authorises it: domain = the
                      host that the browser shows, URI = the Keys Server, the key as its
                      only resource, a nonce of ours, tied to this browser session
    (the wallet signs)
    complete_sign_in  the signer recovered and compared, the request used up; then user,
                      account, device, identity key and registration in one transaction

The same pair adds an account to the user who is signed in, and proves one again. The
statement is the one of the later generation ("all apps"), so that one CACAO serves both.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction

from accounts.models import Account, Device, SignInRequest, User
from accounts.services import (
    add_device,
    audit,
    find_account,
    prove_device,
    proven_account,
    session_digest,
)
from accounts.signals import account_proven
from common import clock, entropy
from identity.services.device_keys import add_identity_key
from identity.services.errors import (
    ForeignOrigin,
    MalformedSignature,
    OtherBrowser,
    RequestExpired,
    RequestUnknown,
    RequestUsed,
    SignInError,
    TextDiffers,
    UnsupportedAccount,
    WrongSigner,
)
from identity.services.signatures import added_white_space, canonical_signature
from keychain import services as keychain
from keychain.services import Holder
from walletconnect.crypto.ethereum import recover_eip191
from walletconnect.crypto.signing import IdentityKey as SecretIdentityKey
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.authorization import ALL_APPS_STATEMENT
from walletconnect.identity.cacao import (
    VERSION,
    Cacao,
    CacaoPayload,
    build_message,
    format_time,
)
from walletconnect.identity.did import AccountId

if TYPE_CHECKING:
    from datetime import datetime

NONCE_BYTES: Final = 32


# --- the message ----------------------------------------------------------------------


def begin_sign_in(
    session_key: str, *, account: str, origin: str, user: User | None = None
) -> SignInRequest:
    """Make the message for a wallet to sign; ``request.message`` is the text.

    ``account`` is CAIP-10, ``origin`` scheme, host and port that the browser shows.
    With ``user``, who is signed in in this session, the account is added to that user.
    """
    account_id = ethereum_account(account)
    domain = _own_domain(origin)
    now = clock.now()
    key = SecretIdentityKey.from_seed(entropy.key_bytes())
    payload = CacaoPayload(
        iss=account_id.did,
        domain=domain,
        aud=settings.KEYS_SERVER_URL,
        version=VERSION,
        nonce=entropy.token_hex(NONCE_BYTES),
        iat=format_time(int(now.timestamp())),
        statement=ALL_APPS_STATEMENT,
        resources=(key.did,),
    )
    with transaction.atomic():
        keychain.put_signing_key(Holder.IDENTITY, key)
        return SignInRequest.objects.create(
            user=user,
            nonce=payload.nonce,
            session_digest=session_digest(session_key),
            address=str(account_id),
            message=build_message(payload),
            identity_did=key.did,
            payload=payload.to_value(),
            created_at=now,
            expires_at=now + timedelta(seconds=settings.LIMITS.sign_in_nonce_s),
        )


def ethereum_account(text: str) -> AccountId:
    """The account in EIP-55 spelling; a mixed-case address must already be spelled so."""
    try:
        account = AccountId.parse(text)
    except RemoteProtocolError:
        raise UnsupportedAccount from None
    if not account.is_ethereum or not account.reference.isdecimal():
        raise UnsupportedAccount
    digits = account.address[2:]
    is_spelled = digits not in (digits.lower(), digits.upper())
    if is_spelled and account.checksummed != account:
        raise UnsupportedAccount
    return account.checksummed


def own_domains() -> list[str]:
    """The hosts under which browsers may sign in; the first is the public one."""
    public = urlsplit(settings.PUBLIC_URL).netloc.lower()
    if not settings.EMBEDDED_POSTGRES:
        return [public]
    loopback = [f"{name}:{settings.PORT}" for name in settings.LOOPBACK_NAMES]
    return [public, *(name for name in loopback if name != public)]


def _own_domain(origin: str) -> str:
    try:
        parts = urlsplit(origin)
        domain = parts.netloc.lower()
    except ValueError:
        domain = ""
    if domain not in own_domains() or parts.scheme not in ("http", "https"):
        raise ForeignOrigin(origin, settings.PUBLIC_URL)
    return domain


# --- the answer -----------------------------------------------------------------------


def complete_sign_in(
    session_key: str,
    *,
    nonce: str,
    signature: str,
    user_agent: str,
    device: Device | None = None,
) -> Device:
    """Sign in with what the wallet signed; the device that is signed in from now on.

    ``session_key`` is the session in which the message was made. ``device`` is the one
    that is signed in in it, if any: then the account is added (or proved again) there.
    Otherwise the device is new: the view does Django's ``login`` with ``device.user``,
    which gives the session a new key, and then ``accounts.services.bind_session``.

    Raises ``SignInError`` (wrong signer, expired, used, other browser…) or
    ``accounts.services.AccountTaken``, and then nothing has changed but the audit log.
    """
    try:
        request = _open_request(session_key, nonce, device)
        cacao = _checked_cacao(request, signature)
        return _sign_in(request, cacao, user_agent=user_agent, device=device)
    except SignInError as error:
        _audit_failure(nonce, error, device)
        raise


def _open_request(session_key: str, nonce: str, device: Device | None) -> SignInRequest:
    request = SignInRequest.objects.select_related("user").filter(nonce=nonce).first()
    if request is None:
        raise RequestUnknown
    signed_in = None if device is None else device.user_id
    is_this_browser = request.session_digest == session_digest(session_key)
    if not is_this_browser or request.user_id != signed_in:
        raise OtherBrowser
    if request.used_at is not None:
        raise RequestUsed(request.address)
    if not request.is_open(clock.now()):
        raise RequestExpired(request.address)
    return request


def _checked_cacao(request: SignInRequest, signature: str) -> Cacao:
    """The CACAO of the request with this signature, if the right account signed it."""
    canonical = canonical_signature(signature)
    payload = CacaoPayload.from_value(request.payload)
    expected = AccountId.parse(request.address)
    signer = _signer(request.message, canonical)
    if signer.lower() != expected.address.lower():
        added = added_white_space(request.message, expected.address, canonical)
        if added:
            raise TextDiffers(added, signer, expected.address)
        raise WrongSigner(signer, expected.address)
    cacao = Cacao.signed(payload, canonical)
    cacao.verify(
        now=clock.now_s(),
        domain=payload.domain,
        nonce=request.nonce,
        aud=settings.KEYS_SERVER_URL,
    )
    return cacao


def _signer(message: str, signature: str) -> str:
    try:
        return recover_eip191(message, signature)
    except RemoteProtocolError:
        # Well-formed, but no point of the curve: nobody signed this.
        raise MalformedSignature from None


@transaction.atomic
def _sign_in(
    request: SignInRequest, cacao: Cacao, *, user_agent: str, device: Device | None
) -> Device:
    _use_up(request, clock.now())
    account = proven_account(request.address, user=request.user)
    if device is None:
        device = add_device(account.user, user_agent=user_agent)
    elif account.created_at < request.created_at:
        # An account that is only being added proves nothing about this person: whoever
        # holds the session could have signed with a wallet of their own.
        prove_device(device)
    add_identity_key(device, account, cacao)
    account_proven.send(Account, account=account)
    audit("sign-in", device=device, account=account)
    return device


def _use_up(request: SignInRequest, now: datetime) -> None:
    # Of two that bring the same signature at once, one changes the row.
    used = SignInRequest.objects.filter(pk=request.pk, used_at=None)
    if not used.update(used_at=now):
        raise RequestUsed(request.address)


def _audit_failure(nonce: str, error: SignInError, device: Device | None) -> None:
    request = SignInRequest.objects.filter(nonce=nonce).first()
    account = None if request is None else find_account(request.address)
    audit("sign-in.failed", device=device, account=account, detail=error.kind)
