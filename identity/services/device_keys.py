"""The identity keys of our devices: made at sign-in, registered, used, retired.

Spec: clients/core/identity/identity-keys.md; one key per device and account. Registering and
unregistering at another Keys Server are rows that are worked off until the server has
answered (reliability.md, items 2 and 5); at our own they happen at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db.models import F

from accounts.services import audit
from common import clock
from common.wake import enqueue_on_commit
from identity.models import (
    IdentityKey,
    IdentityRegistration,
    IdentityUnregistration,
    InviteRegistration,
    KnownIdentity,
)
from identity.services import keys_server
from identity.services.errors import KeysServerRefusal, NoIdentityKey
from keychain import services as keychain
from keychain.services import Holder
from walletconnect.identity.authorization import authorization_of
from walletconnect.identity.cacao import Cacao
from walletconnect.identity.did import DID_KEY, AccountId
from walletconnect.identity.registration import sign_unregister_identity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from django.db.models import QuerySet

    from accounts.models import Account, Device
    from identity.models import IdentityKeyQuerySet
    from walletconnect.crypto.signing import IdentityKey as SecretIdentityKey

REGISTER_TASK: Final = "identity.register_identity_keys"
UNREGISTER_TASK: Final = "identity.unregister_identity_keys"
# A registration that may be on its way has arrived, or failed, by then.
IN_FLIGHT: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class SigningIdentity:
    """What signs tokens for an account: ``ksu`` of such a token is ``keys_server``."""

    key: SecretIdentityKey
    did: str
    keys_server: str


# --- making ---------------------------------------------------------------------------


def add_identity_key(device: Device, account: Account, cacao: Cacao) -> IdentityKey:
    """The key that ``cacao`` authorises becomes the device's for the account.

    In the caller's transaction. One that the device had before is retired.
    """
    did = cacao.identity_key
    retire(IdentityKey.objects.active().filter(device=device, account=account))
    keychain.give_signing_key(Holder.IDENTITY, did, account_id=account.pk)
    now = clock.now()
    row = IdentityKey.objects.create(
        device=device,
        account=account,
        did=did,
        cacao=cacao.text,
        keys_server=settings.KEYS_SERVER_URL,
        created_at=now,
        registered_at=now if settings.KEYS_SERVER_IS_OURS else None,
        next_attempt_at=None if settings.KEYS_SERVER_IS_OURS else now,
    )
    audit("identity-key.made", device=device, account=account, subject=did)
    if settings.KEYS_SERVER_IS_OURS:
        keys_server.keep(cacao)
        retire_superseded(account.pk)
    else:
        enqueue_on_commit(REGISTER_TASK)
    return row


# --- using ----------------------------------------------------------------------------


def signing_identity(
    account: Account, *, device: Device | None = None
) -> SigningIdentity:
    """The identity that signs for an account: the device's own, if it has one.

    Without a device (renewals by the clock), or if the account was added on another
    one, the newest of the account. ``NoIdentityKey`` if none may sign now.
    """
    keys = IdentityKey.objects.active().filter(account=account)
    rows = list(keys.order_by("-created_at"))
    registered = [row for row in rows if row.registered_at is not None]
    if not registered:
        raise NoIdentityKey(account.address, pending=bool(rows))
    own = (
        row for row in registered if device is not None and row.device_id == device.pk
    )
    row = next(own, registered[0])
    return _identity(row, keychain.signing_key(Holder.IDENTITY, row.did))


def signing_identities(account_ids: Collection[int]) -> dict[int, SigningIdentity]:
    """The newest identity of each account; accounts that have none are left out."""
    keys = IdentityKey.objects.active().filter(
        account_id__in=account_ids, registered_at__isnull=False
    )
    newest = keys.order_by("account_id", "-created_at").distinct("account_id")
    rows = list(newest)
    secrets = keychain.signing_keys(Holder.IDENTITY, [row.did for row in rows])
    return {
        row.account_id: _identity(row, secrets[row.did])
        for row in rows
        if row.did in secrets
    }


def watching_identities(preferred: Mapping[int, str]) -> dict[int, SigningIdentity]:
    """For each account an identity that its owner lets see all apps.

    The preferred one (account: did), as long as it may sign, because a Cast Server
    counts watchers by their identity; else the newest. Others are left out.
    """
    keys = IdentityKey.objects.active().filter(
        account_id__in=preferred, registered_at__isnull=False
    )
    chosen: dict[int, IdentityKey] = {}
    for row in keys.order_by("created_at"):
        known = chosen.get(row.account_id)
        if known is not None and known.did == preferred[row.account_id]:
            continue
        if authorization_of(Cacao.from_json(row.cacao)).all_apps:
            chosen[row.account_id] = row
    dids = [row.did for row in chosen.values()]
    secrets = keychain.signing_keys(Holder.IDENTITY, dids)
    return {
        account_id: _identity(row, secrets[row.did])
        for account_id, row in chosen.items()
        if row.did in secrets
    }


def _identity(row: IdentityKey, key: SecretIdentityKey) -> SigningIdentity:
    return SigningIdentity(key=key, did=row.did, keys_server=row.keys_server)


# --- retiring -------------------------------------------------------------------------


def retire_keys_of_devices(devices: list[Device], **_: object) -> None:
    """The devices were revoked: their keys sign nothing more and are unregistered."""
    retire(IdentityKey.objects.active().filter(device__in=devices))


def retire_spare_keys_of_devices(devices: list[Device], **_: object) -> None:
    """The devices' sessions are over: their keys go, but not the account's last one.

    The inbox goes on while its owner is away: it acknowledges and renews. What was
    kept for that goes when somebody signs in again.
    """
    accounts = (
        IdentityKey.objects.active()
        .filter(device__in=devices)
        .values_list("account_id", flat=True)
    )
    for account_id in set(accounts):
        retire_superseded(account_id)


def retire_superseded(account_id: int) -> None:
    """Retire keys of ended sessions, if another registered key can sign instead."""
    keys = IdentityKey.objects.active().filter(account_id=account_id)
    spare = keys.left_behind()
    if not keys.exclude(pk__in=spare).filter(registered_at__isnull=False).exists():
        newest = spare.order_by(F("registered_at").desc(nulls_last=True)).first()
        spare = spare.exclude(pk=newest.pk) if newest else spare
    retire(spare)


def retire_keys_of_account(account: Account, **_: object) -> None:
    """The account is about to be removed: its keys go, and what names it here."""
    keys = IdentityKey.objects.filter(account=account)
    dids = list(keys.values_list("did", flat=True))
    retire(keys.filter(retired_at=None))
    bare = [did.removeprefix(DID_KEY) for did in dids]
    # The bare key stays, so that it can never be registered again.
    IdentityRegistration.objects.filter(public_key__in=bare).update(
        account="", cacao=""
    )
    KnownIdentity.objects.filter(did__in=dids).delete()
    account_key = AccountId.parse(account.address).key
    InviteRegistration.objects.filter(account=account_key).delete()


def retire(keys: QuerySet[IdentityKey] | IdentityKeyQuerySet) -> None:
    """Stop signing with ``keys``: have them unregistered, forget the private parts.

    The token that unregisters is signed now and kept instead of the key.
    """
    rows = list(keys.select_related("account").select_for_update(of=("self",)))
    if not rows:
        return
    secrets = keychain.signing_keys(Holder.IDENTITY, [row.did for row in rows])
    now = clock.now()
    IdentityKey.objects.filter(pk__in=[row.pk for row in rows]).update(
        retired_at=now, next_attempt_at=None, leased_until=None, leased_by=None
    )
    for row in rows:
        if _is_ours(row.keys_server):
            _withdraw_here(row)
    elsewhere = [row for row in rows if not _is_ours(row.keys_server)]
    _plan_unregistrations(elsewhere, secrets, now)
    keychain.forget(Holder.IDENTITY, [row.did for row in rows])


def _is_ours(url: str) -> bool:
    return settings.KEYS_SERVER_IS_OURS and url == settings.KEYS_SERVER_URL


def _withdraw_here(row: IdentityKey) -> None:
    try:
        keys_server.withdraw(row.did, AccountId.parse(row.account.address))
    except KeysServerRefusal:
        # Nobody registered it here: the Keys Server was another one when it was made.
        pass


def _plan_unregistrations(
    rows: Iterable[IdentityKey], secrets: dict[str, SecretIdentityKey], now: datetime
) -> None:
    jobs = [
        IdentityUnregistration(
            did=row.did,
            keys_server=row.keys_server,
            id_auth=sign_unregister_identity(
                secrets[row.did],
                AccountId.parse(row.account.address),
                keys_server_url=row.keys_server,
                now_ms=clock.now_ms(),
            ),
            created_at=now,
            next_attempt_at=now if _is_settled(row) else now + IN_FLIGHT,
        )
        for row in rows
        # A key that is lost cannot say so; its server drops it with its CACAO.
        if row.did in secrets
    ]
    IdentityUnregistration.objects.bulk_create(jobs, ignore_conflicts=True)
    if jobs:
        enqueue_on_commit(UNREGISTER_TASK)


def _is_settled(row: IdentityKey) -> bool:
    # Otherwise its registration may be on its way, and must not arrive last.
    return row.registered_at is not None or row.attempts == 0
