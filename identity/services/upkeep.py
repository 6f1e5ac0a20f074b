"""Working off what another Keys Server still has to hear, and what nobody needs any more."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from accounts.models import SignInRequest
from accounts.services import audit
from groundwork import clock
from groundwork.entropy import jitter
from groundwork.wake import enqueue_on_commit
from identity.models import IdentityKey, IdentityUnregistration, KnownIdentity
from identity.services import client, device_keys
from identity.services.client import Refused, Unavailable
from keychain import services as keychain
from keychain.services import Holder
from walletconnect.identity.cacao import Cacao

logger = logging.getLogger(__name__)

FIRST_DELAY_S: Final = 5.0
LONGEST_DELAY_S: Final = 3600.0
# About two days of trying.
MOST_ATTEMPTS: Final = 60
STARTED_TOGETHER: Final = 100
FORGOTTEN_TOGETHER: Final = 500
KEEP_DONE: Final = timedelta(days=7)
KEEP_KNOWN: Final = timedelta(days=1)


def register_identity_key(pk: int) -> None:
    """Register one key at its Keys Server, if it is due and nobody else is at it."""
    row = device_keys.claim_key(pk, until=clock.now() + device_keys.IN_FLIGHT)
    if row is None:
        return
    try:
        client.register(row.keys_server, Cacao.from_json(row.cacao))
    except (Refused, Unavailable) as error:
        _put_off(row, error)
        return
    # Retired meanwhile: then it was unregistered behind this, or will be.
    with transaction.atomic():
        IdentityKey.objects.filter(pk=pk, registered_at=None).update(
            registered_at=clock.now(), next_attempt_at=None, reason=""
        )
        device_keys.retire_superseded(row.account_id)


def unregister_identity_key(pk: int) -> None:
    """Take one key off its Keys Server, with the token that it left behind."""
    row = device_keys.claim_unregistration(
        pk, until=clock.now() + device_keys.IN_FLIGHT
    )
    if row is None:
        return
    try:
        client.unregister(row.keys_server, row.id_auth)
    except (Refused, Unavailable) as error:
        _put_off(row, error)
        return
    IdentityUnregistration.objects.filter(pk=pk).update(
        done_at=clock.now(), next_attempt_at=None, id_auth="", reason=""
    )
    audit("identity-key.unregistered", subject=row.did)


def _put_off(row: IdentityKey | IdentityUnregistration, error: Exception) -> None:
    final = isinstance(error, Refused) or row.attempts >= MOST_ATTEMPTS
    type(row)._default_manager.filter(pk=row.pk).update(
        next_attempt_at=None if final else clock.now() + delay(row.attempts),
        reason=str(error)[:200],
    )
    logger.info(
        "Keys Server not told", extra={"did": row.did, "reason": str(error)[:200]}
    )


def delay(attempts: int) -> timedelta:
    seconds = min(FIRST_DELAY_S * 2 ** min(attempts - 1, 16), LONGEST_DELAY_S)
    return timedelta(seconds=jitter(seconds))


def retry_registrations() -> int:
    """Start a task for everything that is due: what no task took up, and retries."""
    now = clock.now()
    keys = device_keys.due_keys(now, STARTED_TOGETHER)
    jobs = device_keys.due_unregistrations(now, STARTED_TOGETHER)
    for pk in keys:
        enqueue_on_commit(device_keys.REGISTER_TASK, pk)
    for pk in jobs:
        enqueue_on_commit(device_keys.UNREGISTER_TASK, pk)
    return len(keys) + len(jobs)


def prune(now: datetime | None = None) -> int:
    """Forget the keys of sign-ins that never came back, and old answers of others."""
    at = now or clock.now()
    over = SignInRequest.objects.filter(used_at=None, expires_at__lt=at)
    rows = list(over.order_by("pk")[:FORGOTTEN_TOGETHER])
    keychain.forget(Holder.IDENTITY, [row.identity_did for row in rows])
    SignInRequest.objects.filter(pk__in=[row.pk for row in rows], used_at=None).delete()
    KnownIdentity.objects.filter(checked_at__lt=at - KEEP_KNOWN).delete()
    IdentityUnregistration.objects.filter(done_at__lt=at - KEEP_DONE).delete()
    return len(rows)
