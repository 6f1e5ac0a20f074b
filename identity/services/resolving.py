"""Resolves identity keys to CACAOs: asks Keys Servers, verifies, caches.

``ksu`` comes from a peer's token, so only allowed servers are asked. Our own Keys Server is
read in process, so its answers are always current. A task asks other servers, so that a
slow one delays only the messages that name it. Their answers are cached for minutes, so a
key that is unregistered there is refused soon.
"""

from __future__ import annotations

import functools
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

from django.conf import settings
from django.db import transaction

from common import clock
from common.backoff import Backoff
from common.drain import drain
from common.wake import enqueue_on_commit
from identity.models import IdentityRegistration, KnownIdentity
from identity.services import client
from identity.services.client import Unavailable
from identity.services.errors import KeysServerUnavailable
from identity.services.sign_in import own_domains
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.cacao import Cacao
from walletconnect.identity.did import DID_KEY, is_did_key

if TYPE_CHECKING:
    from collections.abc import Collection

logger = logging.getLogger(__name__)

# The did:key that signed a token, and the Keys Server that the token names.
Asked: TypeAlias = tuple[str, str]

KNOWN_TTL: Final = timedelta(minutes=5)
UNKNOWN_TTL: Final = timedelta(seconds=30)
# Between ``resolve_identity`` and the transaction that uses the answer.
USED_WITHIN: Final = timedelta(minutes=10)
LOOK_UP_TASK: Final = "identity.look_up_identities"
BACKOFF: Final = Backoff(first_s=1.0, max_s=60.0, max_attempts=8)
SLOTS: Final = 16
VERIFIED_CACHE_SIZE: Final = 4096
MINUTE: Final = 60


def resolve_identity(asked: Collection[Asked]) -> dict[str, Cacao]:
    """The verified CACAO of every did:key that is registered at its Keys Server.

    Call it outside transactions. Keys that are unknown, unregistered, at a server that is
    not allowed, or with an invalid CACAO are left out. Raises ``KeysServerUnavailable`` if
    another server has to answer first; a task asks it, and ``error.resolved`` has the rest.
    """
    asked = {(did, ksu.rstrip("/")) for did, ksu in asked if is_did_key(did)}
    own = own_keys_servers()
    resolved = _registered_here({did for did, ksu in asked if ksu in own})
    allowed = {url.rstrip("/") for url in settings.ALLOWED_KEYS_SERVERS} - own
    elsewhere = {
        (did, ksu) for did, ksu in asked if ksu in allowed and did not in resolved
    }
    if not elsewhere:
        return resolved
    now = clock.now()
    cached = {
        (row.did, row.keys_server): row.cacao
        for row in KnownIdentity.objects.filter(
            did__in={did for did, _ in elsewhere}, checked_at__gt=now - KNOWN_TTL
        )
        if row.cacao or (row.checked_at or now) > now - UNKNOWN_TTL
    }
    for did, text in (
        (did, text) for (did, ksu), text in cached.items() if (did, ksu) in elsewhere
    ):
        cacao = _checked(did, text) if text else None
        if cacao is not None:
            resolved[did] = cacao
    unknown = elsewhere - cached.keys()
    if unknown:
        _look_up_soon(unknown)
    unanswered = {did for did, _ in unknown} - set(resolved)
    if unanswered:
        raise KeysServerUnavailable(unanswered, resolved)
    return resolved


def known_identities(dids: Collection[str]) -> dict[str, Cacao]:
    """What ``resolve_identity`` found in the last minutes; two queries, no network."""
    found = _registered_here(dids)
    rows = KnownIdentity.objects.filter(
        did__in=set(dids) - set(found), checked_at__gt=clock.now() - USED_WITHIN
    ).exclude(cacao="")
    for row in rows:
        cacao = _checked(row.did, row.cacao)
        if cacao is not None:
            found[row.did] = cacao
    return found


def known_identity(did: str) -> Cacao | None:
    """As ``known_identities``, of one key; for use inside transactions."""
    return known_identities([did]).get(did)


def own_keys_servers() -> frozenset[str]:
    """The base URLs of our own Keys Server."""
    scheme = settings.PUBLIC_URL.partition("://")[0]
    bases = {f"{scheme}://{domain}" for domain in own_domains()}
    if settings.KEYS_SERVER_IS_OURS:
        bases.add(settings.KEYS_SERVER_URL)
    return frozenset(bases)


# --- here -----------------------------------------------------------------------------


def _registered_here(dids: Collection[str]) -> dict[str, Cacao]:
    if not dids:
        return {}
    rows = IdentityRegistration.objects.filter(
        public_key__in=[did.removeprefix(DID_KEY) for did in dids], unregistered_at=None
    )
    checked = ((DID_KEY + row.public_key, row.cacao) for row in rows)
    found = {did: _checked(did, text) for did, text in checked}
    return {did: cacao for did, cacao in found.items() if cacao is not None}


def _checked(did: str, text: str) -> Cacao | None:
    """The CACAO if it is valid now and authorizes this key."""
    try:
        cacao = _verified(text, clock.now_s() // MINUTE)
    except RemoteProtocolError as error:
        logger.info("identity refused", extra={"did": did, "reason": str(error)})
        return None
    return cacao if cacao.identity_key == did else None


@functools.lru_cache(maxsize=VERIFIED_CACHE_SIZE)
def _verified(text: str, minute: int) -> Cacao:
    # Recovering a signer costs more than the rest of a token's check together. Within a
    # minute, well inside the leeway of its times, the result is the same.
    cacao = Cacao.from_json(text)
    cacao.verify(now=minute * MINUTE)
    return cacao


# --- elsewhere ------------------------------------------------------------------------


@transaction.atomic
def _look_up_soon(asked: set[Asked]) -> None:
    waiting = set(
        KnownIdentity.objects.filter(
            did__in={did for did, _ in asked}, next_attempt_at__isnull=False
        ).values_list("did", "keys_server")
    )
    now = clock.now()
    KnownIdentity.objects.bulk_create(
        [
            KnownIdentity(did=did, keys_server=keys_server, next_attempt_at=now)
            for did, keys_server in sorted(asked - waiting)
        ],
        update_conflicts=True,
        unique_fields=["did", "keys_server"],
        update_fields=["next_attempt_at", "attempts"],
    )
    enqueue_on_commit(LOOK_UP_TASK)


def look_up_identities() -> int:
    """Ask other Keys Servers for the keys that messages wait for; returns how many."""
    return drain(_claim, _ask, _record, slots=SLOTS)


def _claim(limit: int) -> list[KnownIdentity]:
    return KnownIdentity.objects.claim(
        limit,
        owner="keys_server",
        caps={"keys_server": settings.LIMITS.identity_lookups_per_server},
    )


def _ask(row: KnownIdentity) -> tuple[KnownIdentity, str, str]:
    """The text of its CACAO, empty if it is unknown there; or why there is no answer."""
    try:
        cacao = client.resolve(row.keys_server, row.did)
    except Unavailable as error:
        return row, "", str(error) or "no answer"
    return row, "" if cacao is None else cacao.text, ""


def _record(answers: list[tuple[KnownIdentity, str, str]]) -> None:
    for row, text, fault in answers:
        if not fault:
            # An invalid one is cached like an unknown one.
            cacao = text if text and _checked(row.did, text) else ""
            row.finish(cacao=cacao, checked_at=clock.now())
        elif BACKOFF.is_over(row.attempts):
            # A message that still waits for the key adds the row again.
            KnownIdentity.objects.held(row).delete()
        else:
            row.retry_later(BACKOFF, fault)
            logger.info(
                "Keys Server does not answer",
                extra={"server": row.keys_server, "reason": fault},
            )
