"""The identity keys of our devices: created at sign-in, registered, used, retired.

Spec: WalletConnect specs, clients/core/identity/identity-keys.md; one key per device and
account. Registering and unregistering at another Keys Server are rows of a work queue; at our
own server they happen in the same transaction.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db.models import F

from accounts.services import audit
from common import clock
from common.wake import enqueue_on_commit
from identity.models import (
    ContractProof,
    ContractWallet,
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
from walletconnect.identity.cacao import EIP1271, Cacao
from walletconnect.identity.did import DID_KEY, AccountId
from walletconnect.identity.registration import sign_unregister_identity

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from django.db.models import QuerySet

    from accounts.models import Account, Device
    from identity.models import IdentityKeyQuerySet
    from walletconnect.crypto.signing import IdentityKey as SecretIdentityKey

REGISTER_TASK: Final = "identity.register_identity_keys"
UNREGISTER_TASK: Final = "identity.unregister_identity_keys"
# By then a registration that is in flight has arrived or failed.
IN_FLIGHT: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class SigningIdentity:
    """The key that signs tokens for an account; their ``ksu`` is ``keys_server``."""

    key: SecretIdentityKey
    did: str
    keys_server: str


# --- making ---------------------------------------------------------------------------


def add_identity_key(device: Device, account: Account, cacao: Cacao) -> IdentityKey:
    """Store the key that ``cacao`` authorizes as the device's key for the account.

    In the caller's transaction. The device's former key is retired.
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

    Without a device (scheduled renewals), or if the account was added on another device,
    the newest of the account. Raises ``NoIdentityKey`` if none is registered.
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
    # Without the CACAO, which is larger than everything else.
    rows = list(newest.values_list("account_id", "did", "keys_server"))
    secrets = keychain.signing_keys(Holder.IDENTITY, [did for _, did, _ in rows])
    return {
        account_id: SigningIdentity(secrets[did], did, keys_server)
        for account_id, did, keys_server in rows
        if did in secrets
    }


def watching_identities(preferred: Mapping[int, str]) -> dict[int, SigningIdentity]:
    """For each account an identity whose CACAO permits watching all apps.

    The preferred one (account: did) as long as it is registered, because a Cast Server
    counts watchers by their identity; else the newest. Other accounts are left out.
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


def is_contract_wallet(account: Account) -> bool:
    """Whether the account signed in last as a smart-contract wallet."""
    newest = (
        IdentityKey.objects.active().filter(account=account).order_by("-pk").first()
    )
    return newest is not None and (
        Cacao.from_json(newest.cacao).signature_type == EIP1271
    )


# --- retiring -------------------------------------------------------------------------


def retire_keys_of_devices(devices: list[Device], **_: object) -> None:
    """Retire all keys of revoked devices."""
    retire(IdentityKey.objects.active().filter(device__in=devices))


def retire_spare_keys_of_devices(devices: list[Device], **_: object) -> None:
    """Retire the keys of ended sessions, except the last one of each account.

    It acknowledges notifications and renews subscriptions until the user signs in again,
    which retires it.
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
    """Retire all keys of an account that is removed, and delete what names it here."""
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
    address = AccountId.parse(account.address).address.lower()
    ContractProof.objects.filter(address=address).delete()
    ContractWallet.objects.filter(address=address).delete()


def retire(keys: QuerySet[IdentityKey] | IdentityKeyQuerySet) -> None:
    """Stop signing with ``keys``: unregister them and delete the private keys.

    Tokens for other Keys Servers are signed now and stored instead of the keys.
    """
    rows = list(keys.select_related("account").select_for_update(of=("self",)))
    if not rows:
        return
    secrets = keychain.signing_keys(Holder.IDENTITY, [row.did for row in rows])
    now = clock.now()
    IdentityKey.objects.filter(pk__in=[row.pk for row in rows]).update(
        retired_at=now, next_attempt_at=None, leased_until=None, leased_by=None
    )
    jobs = []
    for row in rows:
        account = AccountId.parse(row.account.address)
        if settings.KEYS_SERVER_IS_OURS and row.keys_server == settings.KEYS_SERVER_URL:
            # Not registered here if another Keys Server was configured back then.
            with contextlib.suppress(KeysServerRefusal):
                keys_server.withdraw(row.did, account)
        elif row.did in secrets:
            # A registration that is in flight must not arrive after the unregistration.
            is_settled = row.registered_at is not None or row.attempts == 0
            jobs.append(
                IdentityUnregistration(
                    did=row.did,
                    keys_server=row.keys_server,
                    id_auth=sign_unregister_identity(
                        secrets[row.did],
                        account,
                        keys_server_url=row.keys_server,
                        now_ms=clock.now_ms(),
                    ),
                    created_at=now,
                    next_attempt_at=now if is_settled else now + IN_FLIGHT,
                )
            )
    IdentityUnregistration.objects.bulk_create(jobs, ignore_conflicts=True)
    if jobs:
        enqueue_on_commit(UNREGISTER_TASK)
    keychain.forget(Holder.IDENTITY, [row.did for row in rows])
