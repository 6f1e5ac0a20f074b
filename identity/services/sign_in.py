"""Signing in: one signature is the login and the authorization of an identity key.

Spec: CAIP-122 and EIP-4361.

    begin_sign_in     creates an identity key and the text that authorizes it: domain = the
                      host that the browser shows, URI = the Keys Server, the key as its
                      only resource, a nonce bound to this browser session
    (the wallet signs)
    complete_sign_in  compares the signer and marks the request as used; then creates user,
                      account, device, identity key and registration in one transaction

The same pair adds an account to the user who is signed in, and proves an account again. The
statement ("all apps") is that of the 2024 protocol, so that one CACAO serves both versions.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final
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
from identity.services.contract_wallets import prove
from identity.services.device_keys import add_identity_key
from identity.services.errors import (
    ForeignOrigin,
    MalformedSignature,
    NoChainEndpoint,
    OtherBrowser,
    RequestExpired,
    RequestUnknown,
    RequestUsed,
    SignatureRefused,
    SignInError,
    TextDiffers,
    UnsupportedAccount,
    WrongSigner,
)
from identity.services.signatures import (
    added_white_space,
    canonical_signature,
    contract_signature,
)
from keychain import services as keychain
from keychain.services import Holder
from walletconnect.crypto.ethereum import recover_eip191
from walletconnect.crypto.signing import IdentityKey as SecretIdentityKey
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.authorization import ALL_APPS_STATEMENT
from walletconnect.identity.cacao import (
    EIP1271,
    VERSION,
    Cacao,
    CacaoPayload,
    build_message,
    format_time,
)
from walletconnect.identity.did import AccountId

NONCE_BYTES: Final = 32
KEY_SIGNATURE_BYTES: Final = 65


# --- the message ----------------------------------------------------------------------


def begin_sign_in(
    session_key: str, *, account: str, origin: str, user: User | None = None
) -> SignInRequest:
    """Create the message for a wallet to sign; ``request.message`` is the text.

    ``account`` is CAIP-10, ``origin`` scheme, host and port that the browser shows.
    With ``user``, who is signed in in this session, the account is added to that user.
    """
    account_id = ethereum_account(account)
    try:
        parts = urlsplit(origin)
        domain = parts.netloc.lower()
    except ValueError:
        raise ForeignOrigin(origin, settings.PUBLIC_URL) from None
    if domain not in own_domains() or parts.scheme not in ("http", "https"):
        raise ForeignOrigin(origin, settings.PUBLIC_URL)
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
    """The account in EIP-55 form; a mixed-case address must have a valid checksum."""
    try:
        account = AccountId.parse(text)
    except RemoteProtocolError:
        raise UnsupportedAccount from None
    if not account.is_ethereum or not account.reference.isdecimal():
        raise UnsupportedAccount
    digits = account.address[2:]
    has_checksum = digits not in (digits.lower(), digits.upper())
    if has_checksum and account.checksummed != account:
        raise UnsupportedAccount
    return account.checksummed


def own_domains() -> list[str]:
    """The hosts under which browsers may sign in; the first is the public one."""
    public = urlsplit(settings.PUBLIC_URL).netloc.lower()
    if not settings.EMBEDDED_POSTGRES:
        return [public]
    loopback = [f"{name}:{settings.PORT}" for name in settings.LOOPBACK_NAMES]
    return [public, *(name for name in loopback if name != public)]


# --- the signature --------------------------------------------------------------------


def complete_sign_in(
    session_key: str,
    *,
    nonce: str,
    signature: str,
    user_agent: str,
    device: Device | None = None,
) -> Device:
    """Sign in with the wallet's signature; returns the device that is signed in now.

    ``session_key`` is the session in which the message was created. ``device`` is its
    device, if it is signed in: then the account is added to the user, or proved again.
    Otherwise the device is new: the view calls Django's ``login`` with ``device.user``,
    which changes the session key, and then ``accounts.services.bind_session``.

    Call it outside of transactions: the chain of a smart-contract wallet may be asked.

    Raises ``SignInError`` (wrong signer, expired, used, other browser…) or
    ``accounts.services.AccountTaken``; then only the audit log has changed.
    """
    try:
        request = _open_request(session_key, nonce, device)
        cacao = _checked_cacao(request, signature)
        return _sign_in(request, cacao, user_agent=user_agent, device=device)
    except SignInError as error:
        failed = SignInRequest.objects.filter(nonce=nonce).first()
        account = None if failed is None else find_account(failed.address)
        audit("sign-in.failed", device=device, account=account, detail=error.kind)
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
    """The CACAO of the request with this signature, if the right account signed it.

    Outside of transactions: the chain of a smart-contract wallet may have to be asked.
    """
    payload = CacaoPayload.from_value(request.payload)
    expected = {
        "domain": payload.domain,
        "nonce": request.nonce,
        "aud": settings.KEYS_SERVER_URL,
    }
    try:
        cacao = Cacao.signed(payload, _signature_of_key(request, signature))
        cacao.verify(now=clock.now_s(), **expected)
    except TextDiffers:
        raise
    except (MalformedSignature, WrongSigner) as error:
        cacao = _signed_by_contract(payload, signature, error)
        cacao.verify(now=clock.now_s(), **expected)
    return cacao


def _signature_of_key(request: SignInRequest, signature: str) -> str:
    """The canonical signature by the account's own key."""
    canonical = canonical_signature(signature)
    expected = AccountId.parse(request.address)
    try:
        signer = recover_eip191(request.message, canonical)
    except RemoteProtocolError:
        # Well-formed, but not a point of the curve.
        raise MalformedSignature from None
    if signer.lower() != expected.address.lower():
        added = added_white_space(request.message, expected.address, canonical)
        if added:
            raise TextDiffers(added, signer, expected.address)
        raise WrongSigner(signer, expected.address)
    return canonical


def _signed_by_contract(
    payload: CacaoPayload, signature: str, error: MalformedSignature | WrongSigner
) -> Cacao:
    """The CACAO, if the account is a contract that accepts ``signature``.

    ``error`` is why it is not the account's own key's. It is raised where that is the likelier
    explanation: for signatures as keys make them.
    """
    cacao = Cacao.signed(payload, contract_signature(signature), EIP1271)
    try:
        check = cacao.contract_check
    except RemoteProtocolError:
        # No chain has this id.
        raise error from None
    is_of_key = len(check.signature) <= KEY_SIGNATURE_BYTES
    try:
        prove(check)
    except NoChainEndpoint as missing:
        if isinstance(error, WrongSigner):
            raise WrongSigner(
                error.signed_by, error.expected, unchecked_chain=missing.chain_id
            ) from None
        raise (error if is_of_key else missing) from None
    except SignatureRefused as refused:
        raise (error if is_of_key else refused) from None
    return cacao.accepted_by_contract(check)


@transaction.atomic
def _sign_in(
    request: SignInRequest, cacao: Cacao, *, user_agent: str, device: Device | None
) -> Device:
    # Of two requests with the same signature at the same moment, one changes the row.
    unused = SignInRequest.objects.filter(pk=request.pk, used_at=None)
    if not unused.update(used_at=clock.now()):
        raise RequestUsed(request.address)
    account = proven_account(request.address, user=request.user)
    if device is None:
        device = add_device(account.user, user_agent=user_agent)
    elif account.created_at < request.created_at:
        # An account that is only being added does not prove who uses the session: a
        # thief of the session could sign with a wallet of their own.
        prove_device(device)
    add_identity_key(device, account, cacao)
    account_proven.send(Account, account=account)
    audit("sign-in", device=device, account=account)
    return device
