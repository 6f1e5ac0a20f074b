"""Resolves identity keys to CACAOs: asks Keys Servers, verifies, caches.

``ksu`` comes from a peer's token, so only allowed servers are asked. Our own Keys Server is
read in process, so its answers are always current. A task asks other servers, so that a
slow one delays only the messages that name it. Their answers are cached for minutes, so a
key that is unregistered there is refused soon. A CACAO of a smart-contract wallet also waits
for its chain (``contract_wallets``).
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
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
from identity.services.contract_wallets import KnownAnswers, check_later
from identity.services.errors import KeysServerUnavailable
from identity.services.sign_in import own_domains
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.cacao import Cacao
from walletconnect.identity.contract_wallet import ContractCheckNeeded
from walletconnect.identity.did import DID_KEY, is_did_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from walletconnect.identity.contract_wallet import ContractCheck

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


def resolve_identity(asked: Collection[Asked]) -> dict[str, Cacao]:
    """The verified CACAO of every did:key that is registered at its Keys Server.

    Call it outside transactions. Keys that are unknown, unregistered, at a server that is
    not allowed, or with an invalid CACAO are left out. Raises ``KeysServerUnavailable`` if
    another server or a chain has to answer first; a task asks it, and ``error.resolved`` has the rest.
    """
    asked = {(did, ksu.rstrip("/")) for did, ksu in asked if is_did_key(did)}
    own = own_keys_servers()
    found = _check(_registered_here({did for did, ksu in asked if ksu in own}))
    allowed = {url.rstrip("/") for url in settings.ALLOWED_KEYS_SERVERS} - own
    elsewhere = {
        (did, ksu) for did, ksu in asked if ksu in allowed and did not in found.cacaos
    }
    unknown: set[Asked] = set()
    if elsewhere:
        now = clock.now()
        cached = {
            (row.did, row.keys_server): row.cacao
            for row in KnownIdentity.objects.filter(
                did__in={did for did, _ in elsewhere}, checked_at__gt=now - KNOWN_TTL
            )
            if row.cacao or (row.checked_at or now) > now - UNKNOWN_TTL
        }
        found |= _check(
            (did, text)
            for (did, ksu), text in cached.items()
            if text and (did, ksu) in elsewhere
        )
        unknown = elsewhere - cached.keys()
    if unknown:
        _look_up_soon(unknown)
    if found.due:
        check_later(found.due)
    unanswered = ({did for did, _ in unknown} | found.waiting) - found.cacaos.keys()
    if unanswered:
        raise KeysServerUnavailable(unanswered, found.cacaos)
    return found.cacaos


def known_identities(dids: Collection[str]) -> dict[str, Cacao]:
    """What ``resolve_identity`` found in the last minutes; two queries, no network."""
    found = _check(_registered_here(dids)).cacaos
    rows = KnownIdentity.objects.filter(
        did__in=set(dids) - set(found), checked_at__gt=clock.now() - USED_WITHIN
    ).exclude(cacao="")
    return found | _check((row.did, row.cacao) for row in rows).cacaos


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


def _registered_here(dids: Collection[str]) -> list[tuple[str, str]]:
    if not dids:
        return []
    rows = IdentityRegistration.objects.filter(
        public_key__in=[did.removeprefix(DID_KEY) for did in dids], unregistered_at=None
    )
    return [(DID_KEY + row.public_key, row.cacao) for row in rows]


@dataclass(frozen=True, slots=True)
class _Found:
    """Valid CACAOs by did:key, and what contracts have to answer.

    ``waiting`` are the keys whose contract has not answered yet, ``due`` the questions.
    """

    cacaos: dict[str, Cacao]
    waiting: set[str]
    due: set[ContractCheck]

    def __or__(self, other: _Found) -> _Found:
        return _Found(
            self.cacaos | other.cacaos,
            self.waiting | other.waiting,
            self.due | other.due,
        )


def _check(texts: Iterable[tuple[str, str]]) -> _Found:
    """The CACAOs that are valid now and authorize the key beside them."""
    found = _Found({}, set(), set())
    by_contract: list[tuple[str, Cacao, ContractCheck]] = []
    for did, text in texts:
        try:
            cacao = _verified(text)
        except ContractCheckNeeded as needed:
            by_contract.append((did, Cacao.from_json(text), needed.check))
            continue
        except RemoteProtocolError as error:
            logger.info("identity refused", extra={"did": did, "reason": str(error)})
            continue
        if cacao.identity_key == did:
            found.cacaos[did] = cacao
    if not by_contract:
        return found
    known = KnownAnswers(check for _, _, check in by_contract)
    found.due.update(known.due)
    for did, cacao, check in by_contract:
        if cacao.identity_key != did:
            continue
        if check in known.accepted:
            found.cacaos[did] = cacao.accepted_by_contract(check)
        elif check in known.due:
            found.waiting.add(did)
    return found


def _is_usable(did: str, text: str) -> bool:
    """Whether a CACAO is valid, as far as that can be judged without its chain."""
    try:
        return _verified(text).identity_key == did
    except ContractCheckNeeded:
        return Cacao.from_json(text).identity_key == did
    except RemoteProtocolError as error:
        logger.info("identity refused", extra={"did": did, "reason": str(error)})
        return False


def _verified(text: str) -> Cacao:
    try:
        cacao = _signed(text)
    except ContractCheckNeeded:
        Cacao.from_json(text).verify_times(clock.now_s())
        raise
    cacao.verify_times(clock.now_s())
    return cacao


@functools.lru_cache(maxsize=VERIFIED_CACHE_SIZE)
def _signed(text: str) -> Cacao:
    # Recovering a signer costs more than the rest of a token's check together.
    cacao = Cacao.from_json(text)
    cacao.verify_except_times()
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
            cacao = text if text and _is_usable(row.did, text) else ""
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
