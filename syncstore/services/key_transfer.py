"""Bringing the keys of an account's stores from another server to this one.

For wallets that sign differently each time: their signature on the second server would lead
to other stores. The new device's server makes an X25519 key pair and a request; the first
server seals the store keys to it; only the new device's server can open the answer. Both
texts go through the person's hands: the servers do not talk to each other.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction

from accounts.models import Account
from accounts.services import audit
from common import clock, entropy
from common.limits import consume
from keychain.services import (
    DecryptionFailed,
    Holder,
    open_sealed,
    seal,
    sym_keys,
    token_digest,
)
from syncstore.models import DeviceLink, Store
from syncstore.schemas import KeyAnswer, KeyRequest
from syncstore.services.enable import restore_stores
from syncstore.services.links import (
    KEEP_FOR,
    LinkExpired,
    LinkRefused,
    LinkTooMany,
    LinkUsed,
    NothingToLink,
    require_may_begin,
)
from walletconnect.crypto.keys import KeyPair, Topic
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.did import AccountId

if TYPE_CHECKING:
    from django.db import models

    from accounts.models import Device

VALID_FOR: Final = timedelta(minutes=10)


class NotAKeyText(LinkRefused):
    """The text is no request, or no answer to the open request."""

    kind = "not-a-key-text"


class OtherAccount(LinkRefused):
    """The text is about an account that is not the user's here, or another one."""

    kind = "other-account"


# --- on the new server ----------------------------------------------------------------


@transaction.atomic
def begin_key_request(account: Account, device: Device) -> DeviceLink:
    """Make the key pair to which another server may seal the account's store keys."""
    require_may_begin(account, device)
    now = clock.now()
    _requests(account, device).filter(used_at=None).delete()
    DeviceLink.objects.filter(expires_at__lt=now - KEEP_FOR).delete()
    key_pair = KeyPair(entropy.key_bytes())
    link = DeviceLink(
        account=account,
        device=device,
        purpose=DeviceLink.Purpose.KEY,
        code_digest=token_digest(f"key request {key_pair.public_key.hex()}"),
        created_at=now,
        expires_at=now + VALID_FOR,
    )
    link.sealed_code = seal(link.context, key_pair.private_key)
    link.save()
    audit("sync.key-requested", device=device, account=account)
    return link


def request_text(account: Account, device: Device) -> str:
    """The text of the open request, to take to the other server; empty without one."""
    link = _requests(account, device).order_by("-created_at").first()
    if link is None or not link.is_open(clock.now()):
        return ""
    try:
        key_pair = KeyPair(open_sealed(link.context, link.sealed_code))
    except DecryptionFailed:
        return ""
    return KeyRequest(
        AccountId.parse(account.address),
        settings.PUBLIC_URL,
        device.name,
        key_pair.public_key,
        int(link.expires_at.timestamp()),
    ).encode()


def take_key_answer(text: str, account: Account, device: Device) -> None:
    """Join the stores whose keys the other server sealed to the open request.

    Raises ``SignatureDiffers`` if the account has other stores here.
    """
    try:
        with transaction.atomic():
            _take(text, account, device)
    except LinkRefused as error:
        audit("sync.link-refused", device=device, account=account, detail=error.kind)
        raise
    audit("sync.key-taken", device=device, account=account)


def _take(text: str, account: Account, device: Device) -> None:
    Account.objects.locked().get(pk=account.pk)
    link = _requests(account, device).order_by("-created_at").first()
    if link is None or not device.is_active():
        raise LinkExpired
    if link.used_at is not None:
        raise LinkUsed
    if not link.is_open(clock.now()):
        raise LinkExpired
    try:
        key_pair = KeyPair(open_sealed(link.context, link.sealed_code))
        answer = KeyAnswer.open(text, key_pair)
    except (RemoteProtocolError, DecryptionFailed) as error:
        raise NotAKeyText("not an answer to this request") from error
    if answer.account.key != AccountId.parse(account.address).key:
        raise OtherAccount("the answer is for another account")
    restore_stores(account, answer.stores, device=device)
    link.used_at = clock.now()
    link.sealed_code = b""
    link.save(update_fields=["used_at", "sealed_code"])


def _requests(account: Account, device: Device) -> models.QuerySet[DeviceLink]:
    return DeviceLink.objects.filter(
        account=account, device=device, purpose=DeviceLink.Purpose.KEY
    )


# --- on the server that has the stores ------------------------------------------------


def read_key_request(text: str, device: Device) -> tuple[KeyRequest, Account]:
    """The request, and which account of the device's user it is about."""
    try:
        request = KeyRequest.parse(text)
    except RemoteProtocolError as error:
        raise NotAKeyText("not a request for keys") from error
    found = Account.objects.at(str(request.account)).filter(user_id=device.user_id)
    account = next(iter(found), None)
    if account is None:
        raise OtherAccount("the request is for an account of somebody else")
    if request.until <= clock.now().timestamp():
        raise LinkExpired
    if not Store.objects.filter(account=account).exists():
        raise NothingToLink
    return request, account


def give_keys(text: str, device: Device) -> str:
    """The account's store keys, sealed to the key in the request.

    The caller has made sure that a wallet signed on ``device`` a moment ago.
    """
    verdict = consume("device_link_try", f"user:{device.user_id}")
    if not verdict.allowed:
        raise LinkTooMany(verdict.retry_after)
    try:
        request, account = read_key_request(text, device)
        if not device.is_active():
            raise LinkExpired
        # With the epoch, so that the other server joins the same one.
        names = {
            store.topic: store.derivation_name
            for store in Store.objects.filter(account=account)
        }
        keys = sym_keys(Holder.WALLET, list(names))
        stores = {names[topic]: keys[Topic(topic)] for topic in names if topic in keys}
        if not stores:
            raise NothingToLink
    except LinkRefused as error:
        audit("sync.link-refused", device=device, detail=error.kind)
        raise
    answer = KeyAnswer(AccountId.parse(account.address), stores).sealed_to(
        request.public_key,
        ephemeral=KeyPair(entropy.key_bytes()),
        iv=entropy.iv(),
    )
    detail = f"{request.device} at {request.server}"
    audit("sync.key-given", device=device, account=account, detail=detail)
    return answer
