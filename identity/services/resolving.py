"""Whom an identity key speaks for: asked at Keys Servers, verified here, remembered.

Spec: protocol.md, section 3.1; reliability.md, item 14. ``ksu`` comes from a peer's token, so
it is taken from an allow-list or not at all. Our own Keys Server is asked in process: what
it answers is always fresh, an unregistered key is unknown at once. Answers of others are
remembered for a short while, so a key that was unregistered there is refused soon.

Everything works on batches: one query for what is here, concurrent calls for the rest.
"""

from __future__ import annotations

import functools
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

from django.conf import settings

from groundwork import clock
from identity.models import IdentityRegistration, KnownIdentity
from identity.services import client
from identity.services.client import Unavailable
from identity.services.errors import KeysServerUnavailable
from identity.services.sign_in import own_domains
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.cacao import Cacao
from walletconnect.identity.did import DID_KEY, is_did_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime

logger = logging.getLogger(__name__)

# The did:key that signed a token, and the Keys Server that the token names.
Asked: TypeAlias = tuple[str, str]

KNOWN_FOR: Final = timedelta(minutes=5)
UNKNOWN_FOR: Final = timedelta(seconds=30)
# Between ``resolve_identity`` and the transaction that uses the answer.
USED_WITHIN: Final = timedelta(minutes=10)
AT_ONCE: Final = 8
VERIFIED_KEPT: Final = 4096
MINUTE: Final = 60


def resolve_identity(asked: Collection[Asked]) -> dict[str, Cacao]:
    """The verified CACAO of every did:key that its Keys Server knows.

    Outside transactions: it may reach out. Keys that are unknown, unregistered, named
    at a server that we do not ask, or with a CACAO that does not hold are left out.
    Raises ``KeysServerUnavailable`` if a server did not answer; what did resolve is kept
    (``error.resolved``), so trying again asks only for the rest.
    """
    asked = {(did, ksu.rstrip("/")) for did, ksu in asked if is_did_key(did)}
    ours = {did for did, ksu in asked if ksu in own_keys_servers()}
    resolved = _registered_here(ours)
    elsewhere = {
        (did, ksu)
        for did, ksu in asked
        if ksu in _allowed() - own_keys_servers() and did not in resolved
    }
    unanswered = _resolve_elsewhere(elsewhere, resolved)
    if unanswered - set(resolved):
        raise KeysServerUnavailable(unanswered - set(resolved), resolved)
    return resolved


def known_identities(dids: Collection[str]) -> dict[str, Cacao]:
    """What ``resolve_identity`` has found lately; two queries, no network."""
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
    """What is known of one key, for use inside transactions."""
    return known_identities([did]).get(did)


def own_keys_servers() -> frozenset[str]:
    """The base URLs that mean our own Keys Server."""
    scheme = settings.PUBLIC_URL.partition("://")[0]
    bases = {f"{scheme}://{domain}" for domain in own_domains()}
    if settings.KEYS_SERVER_IS_OURS:
        bases.add(settings.KEYS_SERVER_URL)
    return frozenset(bases)


def _allowed() -> frozenset[str]:
    return frozenset(url.rstrip("/") for url in settings.ALLOWED_KEYS_SERVERS)


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
    """The CACAO if it holds now and is about this key."""
    try:
        cacao = _verified(text, clock.now_s() // MINUTE)
    except RemoteProtocolError as error:
        logger.info("identity refused", extra={"did": did, "reason": str(error)})
        return None
    return cacao if cacao.identity_key == did else None


@functools.lru_cache(maxsize=VERIFIED_KEPT)
def _verified(text: str, minute: int) -> Cacao:
    # Recovering a signer costs more than all the rest of a token's check. Within a
    # minute, well inside the leeway of its times, the answer is the same.
    cacao = Cacao.from_json(text)
    cacao.verify(now=minute * MINUTE)
    return cacao


# --- elsewhere ------------------------------------------------------------------------


def _resolve_elsewhere(asked: set[Asked], resolved: dict[str, Cacao]) -> set[str]:
    """Add to ``resolved`` what is remembered or answered; returns what was not."""
    if not asked:
        return set()
    now = clock.now()
    remembered = _remembered(asked, now)
    answers, unanswered = _ask(asked - remembered.keys())
    _remember(answers, now)
    for (did, _), text in (remembered | answers).items():
        cacao = _checked(did, text) if text else None
        if cacao is not None:
            resolved[did] = cacao
    return unanswered


def _remembered(asked: set[Asked], now: datetime) -> dict[Asked, str]:
    rows = KnownIdentity.objects.filter(
        did__in={did for did, _ in asked}, checked_at__gt=now - KNOWN_FOR
    )
    return {
        (row.did, row.keys_server): row.cacao
        for row in rows
        if (row.did, row.keys_server) in asked
        and (row.cacao or row.checked_at > now - UNKNOWN_FOR)
    }


def _ask(asked: Iterable[Asked]) -> tuple[dict[Asked, str], set[str]]:
    """All at once: what the servers answered, and the keys they did not answer for."""
    pairs = list(asked)
    answers: dict[Asked, str] = {}
    unanswered: set[str] = set()
    if not pairs:
        return answers, unanswered
    with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(pairs))) as pool:
        for pair, (text, fault) in zip(pairs, pool.map(_ask_one, pairs), strict=True):
            if fault:
                unanswered.add(pair[0])
                logger.info(
                    "Keys Server silent", extra={"server": pair[1], "reason": fault}
                )
            else:
                answers[pair] = text
    return answers, unanswered


def _ask_one(asked: Asked) -> tuple[str, str]:
    # In a thread of its own: no database here.
    did, keys_server = asked
    try:
        cacao = client.resolve(keys_server, did)
    except Unavailable as error:
        return "", str(error) or "no answer"
    return ("" if cacao is None else cacao.text), ""


def _remember(answers: dict[Asked, str], now: datetime) -> None:
    rows = [
        KnownIdentity(
            did=did,
            keys_server=keys_server,
            # One that does not hold is remembered like one that is unknown.
            cacao=text if text and _checked(did, text) else "",
            checked_at=now,
        )
        for (did, keys_server), text in sorted(answers.items())
    ]
    KnownIdentity.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["did", "keys_server"],
        update_fields=["cacao", "checked_at"],
    )
