"""Registering and unregistering keys at other Keys Servers; deleting old rows."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction

from accounts.models import SignInRequest
from accounts.services import audit
from common import clock
from common.backoff import Backoff
from common.drain import drain
from common.work_queue import REASON_LENGTH, in_batches
from identity.models import IdentityKey, IdentityUnregistration, KnownIdentity
from identity.services import client, device_keys
from identity.services.client import Refused, Unavailable
from identity.services.contract_wallets import prune_proofs
from keychain import services as keychain
from keychain.services import Holder
from walletconnect.identity.cacao import Cacao

logger = logging.getLogger(__name__)

# About two days of trying.
BACKOFF: Final = Backoff(first_s=5.0, max_s=3_600.0, max_attempts=60)
SLOTS: Final = 8
FORGET_BATCH_SIZE: Final = 500
KEEP_DONE: Final = timedelta(days=7)
KEEP_KNOWN: Final = timedelta(days=1)


def register_due_keys() -> int:
    """Register due identity keys at other Keys Servers; returns how many."""
    return drain(_claim_keys, _register, _record_registrations, slots=SLOTS)


def _claim_keys(limit: int) -> list[IdentityKey]:
    return (
        IdentityKey.objects.active()
        .filter(registered_at=None)
        .claim(
            limit,
            owner="account_id",
            caps={"account_id": settings.LIMITS.identity_registrations_per_account},
        )
    )


def _register(row: IdentityKey) -> tuple[IdentityKey, Exception | None]:
    try:
        client.register(row.keys_server, Cacao.from_json(row.cacao))
    except (Refused, Unavailable) as error:
        return row, error
    return row, None


def _record_registrations(
    results: list[tuple[IdentityKey, Exception | None]],
) -> None:
    for row, error in results:
        if error is not None:
            _put_off(row, error)
            continue
        # Also if it was retired meanwhile: an unregistration follows then.
        with transaction.atomic():
            row.finish(registered_at=clock.now())
            device_keys.retire_superseded(row.account_id)


def unregister_due_keys() -> int:
    """Unregister keys with the tokens that they signed; returns how many were due."""
    return drain(_claim_unregistrations, _unregister, _record_unregistered, slots=SLOTS)


def _claim_unregistrations(limit: int) -> list[IdentityUnregistration]:
    return IdentityUnregistration.objects.claim(limit, owner="keys_server")


def _unregister(
    row: IdentityUnregistration,
) -> tuple[IdentityUnregistration, Exception | None]:
    try:
        client.unregister(row.keys_server, row.id_auth)
    except (Refused, Unavailable) as error:
        return row, error
    return row, None


def _record_unregistered(
    results: list[tuple[IdentityUnregistration, Exception | None]],
) -> None:
    for row, error in results:
        if error is not None:
            _put_off(row, error)
        elif row.finish(done_at=clock.now(), id_auth=""):
            audit("identity-key.unregistered", subject=row.did)


def _put_off(row: IdentityKey | IdentityUnregistration, error: Exception) -> None:
    reason = str(error)[:REASON_LENGTH]
    if isinstance(error, Refused):
        row.finish(reason=reason)
    else:
        row.retry_later(BACKOFF, reason)
    logger.info("Keys Server refused a call", extra={"did": row.did, "reason": reason})


def prune(now: datetime | None = None) -> int:
    """Delete the keys of abandoned sign-ins, and old answers of other servers."""
    at = now or clock.now()
    KnownIdentity.objects.filter(checked_at__lt=at - KEEP_KNOWN).delete()
    IdentityUnregistration.objects.filter(done_at__lt=at - KEEP_DONE).delete()
    prune_proofs(at)
    return _forget_keys_of_sign_ins(at)


@in_batches
def _forget_keys_of_sign_ins(expired_before: datetime) -> int:
    expired = SignInRequest.objects.filter(used_at=None, expires_at__lt=expired_before)
    rows = list(expired.order_by("pk")[:FORGET_BATCH_SIZE])
    keychain.forget(Holder.IDENTITY, [row.identity_did for row in rows])
    pks = [row.pk for row in rows]
    SignInRequest.objects.filter(pk__in=pks, used_at=None).delete()
    return len(rows)
