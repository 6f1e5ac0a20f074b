"""Signatures of smart-contract wallets: asked of the chain, cached, never assumed.

Spec: EIP-1271, EIP-6492; the question itself is ``walletconnect.identity.contract_wallet``.

Answers are rows of ``ContractProof``. A positive one is used for a week and renewed daily, a
negative one for a minute; an endpoint that fails gives no answer at all. A sign-in or a
registration waits for its answer (``prove``), without a database connection; messages
are put off until a task has it (``check_later``).

An account is an address without its chain here, but a contract is on one chain, and another
one may be at the same address elsewhere. So an address belongs to the chain on which a
contract of it was accepted first, and is refused on others (``ContractWallet``).
"""

from __future__ import annotations

import functools
import json
import logging
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction

from accounts.services import audit, find_account, revoke_devices
from common import clock, entropy, outbound
from common.backoff import Backoff
from common.connections import release_database
from common.drain import drain
from common.outbound import OutboundError
from common.wake import enqueue_on_commit
from common.work_queue import NO_WORK
from identity.models import ContractProof, ContractWallet
from identity.services.errors import (
    ChainUnavailable,
    NoChainEndpoint,
    SignatureRefused,
)
from walletconnect.crypto.ethereum import address_of, personal_digest, sign_eip191
from walletconnect.errors import RemoteProtocolError
from walletconnect.identity.contract_wallet import ContractCheck, read_verdict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

logger = logging.getLogger(__name__)

CHECK_TASK: Final = "identity.check_contracts"
ACCEPTED_FRESH: Final = timedelta(days=1)
ACCEPTED_USABLE: Final = timedelta(days=7)
REFUSED_FRESH: Final = timedelta(minutes=1)
KEEP: Final = timedelta(days=30)
BACKOFF: Final = Backoff(first_s=1.0, max_s=60.0, max_attempts=8)
SLOTS: Final = 16
VALIDATOR_FILE: Final = Path(__file__).parent.parent / "data" / "erc6492_validator.hex"
# EIP-1474 has no code for a revert: geth and most others answer 3, some -32015.
REVERT_CODES: Final = frozenset({3, -32015})

_waiting = threading.BoundedSemaphore(settings.LIMITS.contract_checks_waiting)
_chain_of: dict[str, int] = {}


# --- what is known --------------------------------------------------------------------


class KnownAnswers:
    """What the table has about some checks, in one query.

    A check is ``accepted``, refused (neither here nor in ``due``), or unknown. ``due``
    has those to ask: unknown ones, and accepted ones that are to be renewed.
    """

    def __init__(self, checks: Iterable[ContractCheck]) -> None:
        by_digest = {check.digest: check for check in checks}
        rows = {
            row.digest: row
            for row in ContractProof.objects.filter(
                digest__in=by_digest, checked_at__isnull=False
            )
        }
        now = clock.now()
        self.accepted: set[ContractCheck] = set()
        self.due: set[ContractCheck] = set()
        for digest, check in by_digest.items():
            row = rows.get(digest)
            age = now - (row.checked_at if row and row.checked_at else now)
            accepted = row is not None and bool(row.accepted)
            if accepted and age < ACCEPTED_USABLE:
                self.accepted.add(check)
            fresh = ACCEPTED_FRESH if accepted else REFUSED_FRESH
            # Without an endpoint, waiting for an answer would not end.
            if (row is None or age >= fresh) and check.chain_id in settings.RPC_URLS:
                self.due.add(check)


def prove(check: ContractCheck) -> None:
    """Return if the contract accepts; ask its chain if the answer is not cached.

    Call it outside transactions: it may wait for the network, without a database
    connection. Raises ``SignatureRefused``, ``NoChainEndpoint`` or ``ChainUnavailable``.
    """
    known = KnownAnswers([check])
    if check in known.accepted:
        return
    if check.chain_id not in settings.RPC_URLS:
        raise NoChainEndpoint(check.chain_id)
    if check not in known.due:
        raise SignatureRefused(check.chain_id)
    if not _waiting.acquire(blocking=False):
        raise ChainUnavailable(check.chain_id, "too many signatures wait for it")
    try:
        release_database()
        accepted = ask_chain(check)
    finally:
        _waiting.release()
    now = clock.now()
    row, _ = ContractProof.objects.update_or_create(
        digest=check.digest,
        defaults={
            **NO_WORK,
            **_answer(check, accepted=accepted, now=now),
            "question": check.to_json(),
            "chain_id": check.chain_id,
            "address": check.address,
        },
    )
    if not row.accepted:
        raise SignatureRefused(check.chain_id)


def _answer(
    check: ContractCheck, *, accepted: bool, now: datetime
) -> dict[str, object]:
    """The columns of an answer; accepting binds the address to the chain."""
    reason = ""
    if accepted:
        wallet, _ = ContractWallet.objects.get_or_create(
            address=check.address,
            defaults={"chain_id": check.chain_id, "accepted_at": now},
        )
        if wallet.chain_id != check.chain_id:
            accepted = False
            reason = f"the address belongs to its contract on chain {wallet.chain_id}"
            logger.warning(
                "contract wallet on another chain",
                extra={"address": check.address, "chain": check.chain_id},
            )
    return {"accepted": accepted, "checked_at": now, "reason": reason}


@transaction.atomic
def move_wallet(address: str, chain_id: int) -> int:
    """Make an address belong to its contract on another chain; by the operator only.

    Signatures that were accepted on the chain before it end, and so do the sessions of the
    account: a stranger may have been first. Returns the number of devices signed out.
    """
    address = address.lower()
    now = clock.now()
    ContractWallet.objects.update_or_create(
        address=address, defaults={"chain_id": chain_id, "accepted_at": now}
    )
    # Refusals of the chain, too: they were for the chain before it.
    proofs = ContractProof.objects.filter(address=address)
    proofs.exclude(chain_id=chain_id, accepted=True).delete()
    account = find_account(f"eip155:{chain_id}:{address}")
    audit("contract-wallet.moved", account=account, subject=f"chain {chain_id}")
    if account is None:
        return 0
    devices = account.user.devices.values_list("pk", flat=True)
    return len(revoke_devices(devices, by=None))


# --- later ----------------------------------------------------------------------------


@transaction.atomic
def check_later(checks: Iterable[ContractCheck]) -> None:
    """Have a task ask the chains; checks that are queued already stay as they are."""
    wanted = {check.digest: check for check in checks}
    queued = set(
        ContractProof.objects.filter(
            digest__in=wanted, next_attempt_at__isnull=False
        ).values_list("digest", flat=True)
    )
    now = clock.now()
    ContractProof.objects.bulk_create(
        [
            ContractProof(
                digest=digest,
                question=check.to_json(),
                chain_id=check.chain_id,
                address=check.address,
                next_attempt_at=now,
            )
            for digest, check in sorted(wanted.items())
            if digest not in queued
        ],
        update_conflicts=True,
        unique_fields=["digest"],
        update_fields=["next_attempt_at", "attempts"],
    )
    enqueue_on_commit(CHECK_TASK)


def check_contracts() -> int:
    """Ask the chains about the signatures that messages wait for; returns how many."""
    return drain(_claim, _ask, _record, slots=SLOTS)


def _claim(limit: int) -> list[ContractProof]:
    return ContractProof.objects.claim(
        limit,
        owner="chain_id",
        caps={"chain_id": settings.LIMITS.contract_checks_per_chain},
    )


def _ask(row: ContractProof) -> tuple[ContractProof, bool, str]:
    """Whether the contract accepts, or why there is no answer."""
    try:
        return row, ask_chain(ContractCheck.from_json(row.question)), ""
    except (ChainUnavailable, NoChainEndpoint) as error:
        return row, False, str(error)


def _record(answers: list[tuple[ContractProof, bool, str]]) -> None:
    for row, accepted, fault in answers:
        if not fault:
            check = ContractCheck.from_json(row.question)
            row.finish(**_answer(check, accepted=accepted, now=clock.now()))
        elif BACKOFF.is_over(row.attempts):
            # A message that still waits for the answer adds the work again.
            row.put_off(None, fault)
        else:
            row.retry_later(BACKOFF, fault)


def prune_proofs(now: datetime) -> None:
    ContractProof.objects.filter(
        checked_at__lt=now - KEEP, next_attempt_at=None
    ).delete()
    ContractProof.objects.filter(checked_at=None, next_attempt_at=None).delete()


# --- the chain ------------------------------------------------------------------------


@functools.cache
def validator() -> bytes:
    """The creation bytecode of EIP-6492's reference validator."""
    text = VALIDATOR_FILE.read_text(encoding="ascii")
    return bytes.fromhex(text.strip().removeprefix("0x"))


def ask_chain(check: ContractCheck) -> bool:
    """Whether the contract accepts now; network only, no database.

    Raises ``ChainUnavailable`` if the endpoint gives no usable answer.
    """
    url = settings.RPC_URLS.get(check.chain_id)
    if url is None:
        raise NoChainEndpoint(check.chain_id)
    try:
        until = clock.monotonic() + settings.LIMITS.contract_check_deadline_s
        chain_id = _chain_of.get(url)
        if chain_id is None:
            answer = _call(url, "eth_chainId", [], until=until)
            chain_id = int(str(answer.get("result")), 16)
        if chain_id != check.chain_id:
            # Not kept: the operator may put it right behind the same URL.
            raise _Unusable(f"its endpoint is of chain {chain_id}")
        _chain_of[url] = chain_id
        return any(
            _is_accepted(
                _call(url, "eth_call", [{"data": data}, "latest"], until=until)
            )
            for data in check.calls(validator())
        )
    except (OutboundError, RemoteProtocolError, ValueError, _Unusable) as error:
        logger.warning(
            "JSON-RPC endpoint gives no answer",
            extra={"chain": check.chain_id, "reason": str(error)},
        )
        reason = str(error) if isinstance(error, (OutboundError, _Unusable)) else ""
        raise ChainUnavailable(
            check.chain_id, reason or "its endpoint sent an unusable answer"
        ) from None


def endpoint_fault(chain_id: int) -> str:
    """What is wrong with the endpoint of a chain; empty if it answers, and truly.

    The validator decides about signatures of plain keys, too. Of a new key the right
    verdicts are known here and nowhere else: one signature fits, the other does not.
    """
    # Asked again, although earlier answers were of the right chain.
    _chain_of.pop(settings.RPC_URLS[chain_id], None)
    key = entropy.key_bytes()
    signature = bytes.fromhex(sign_eip191("doctor", key).removeprefix("0x"))
    right, wrong = (
        ContractCheck(chain_id, address_of(key), (personal_digest(text),), signature)
        for text in ("doctor", "another text")
    )
    try:
        if not ask_chain(right):
            return "it refuses a signature that is valid"
        if ask_chain(wrong):
            return "it accepts a signature that is not valid: it must not be trusted"
    except ChainUnavailable as error:
        return error.reason
    return ""


class _Unusable(Exception):
    pass


def _call(
    url: str, method: str, params: list[object], *, until: float
) -> dict[str, object]:
    left = until - clock.monotonic()
    if left <= 0:
        raise _Unusable("no whole answer within the deadline")
    answer = outbound.fetch(
        "POST",
        url,
        json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params},
        max_bytes=settings.LIMITS.contract_check_bytes,
        deadline=left,
    )
    # Some nodes send a JSON-RPC error, a revert among them, with a status of its own.
    try:
        members = answer.json()
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict) or not {"result", "error"} & members.keys():
        raise _Unusable(
            f"its endpoint sent no JSON-RPC answer (status {answer.status})"
        )
    return members


def _is_accepted(answer: dict[str, object]) -> bool:
    error = answer.get("error")
    if error is None:
        return read_verdict(answer.get("result"))
    fault = error if isinstance(error, dict) else {}
    message = str(fault.get("message", ""))
    if fault.get("code") in REVERT_CODES or "revert" in message.lower():
        # The validator itself reverts on signatures that can be of no wallet.
        return False
    code = json.dumps(fault.get("code"))[:20]
    raise _Unusable(f"its endpoint answered with error {code}")
