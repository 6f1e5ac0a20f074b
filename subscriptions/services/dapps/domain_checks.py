"""Checking a domain in the background: a request starts it, a worker reports on it.

A request never waits for another server: it stores a row. The task reads the dapp's documents
in threads and writes every line of the report as it is found, so that the page shows which
document of a slow domain is being fetched. One task serves many checks, also those that are
started while it runs, so a slow domain does not delay the others.
"""

from __future__ import annotations

import logging
import queue
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import transaction

from accounts.models import User
from accounts.services import EventDraft, EventKind, record_events
from common import clock
from common.dapp_documents import Check, Reading, read_dapp
from common.wake import enqueue_on_commit
from subscriptions.models import DappDocument, DomainCheck
from subscriptions.models.domain_checks import MAX_CHECK_TIME
from subscriptions.services.dapps.documents import (
    keep_readings,
    normalize_dapp_url,
    offered_types,
)
from subscriptions.services.errors import TooMany

logger = logging.getLogger(__name__)

CHECK_TASK: Final = "subscriptions.check_domains"
MAX_AT_ONCE: Final = 32
# How long a task accepts new checks; with the longest check (two documents, 5 s each)
# it ends before its time limit of 50 s.
ACCEPTS_FOR_S: Final = 20.0
POLL_S: Final = 0.2
RETENTION: Final = timedelta(hours=1)
KEYS: Final = "Known keys"
KEYS_TEXT: Final = "the dapp's keys are not those that it had before"
KEYS_REMEDY: Final = (
    "If the keys were changed on purpose, inform the subscribers: one of them has to "
    "accept the new keys on the page of the subscription."
)


@dataclass(frozen=True, slots=True)
class _Progress:
    check: DomainCheck
    lines: tuple[Check, ...]
    waits_for: str = ""
    reading: Reading | None = None


# --- starting -------------------------------------------------------------------------


def start_check(user: User, dapp_url: str) -> DomainCheck:
    """Start a check of the domain of ``dapp_url``; returns the row with the report.

    Raises ``SubscriptionRefused`` if the address cannot be a dapp's, or if too many
    checks are running.
    """
    now = clock.now()
    check = DomainCheck(
        user=user, url=normalize_dapp_url(dapp_url), created_at=now, next_attempt_at=now
    )
    running = DomainCheck.objects.filter(
        finished_at=None, created_at__gt=now - MAX_CHECK_TIME
    )
    limits = settings.LIMITS
    with transaction.atomic():
        # Serializes the requests of one user, so that parallel ones cannot pass the limit.
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        if running.filter(user=user).count() >= limits.domain_checks_per_user:
            raise TooMany("Your other checks are still running.", 5)
        if running.count() >= limits.domain_checks_in_all:
            raise TooMany("Too many domains are being checked at the moment.", 5)
        check.save(force_insert=True)
        enqueue_on_commit(CHECK_TASK)
    return check


# --- running --------------------------------------------------------------------------


def run_checks() -> int:
    """Run waiting checks and those started meanwhile; returns how many. Uses the network."""
    DomainCheck.objects.filter(created_at__lt=clock.now() - RETENTION).delete()
    progress: queue.SimpleQueue[_Progress] = queue.SimpleQueue()
    until = clock.monotonic() + ACCEPTS_FOR_S
    running: set[DomainCheck] = set()
    done = 0
    with ThreadPoolExecutor(MAX_AT_ONCE, thread_name_prefix="check") as pool:
        while True:
            if clock.monotonic() < until:
                for check in _claim(MAX_AT_ONCE - len(running)):
                    running.add(check)
                    pool.submit(_run, check, progress)
            if not running:
                return done
            for each in _latest(progress):
                _write(each)
                if each.reading is not None:
                    running.discard(each.check)
                    done += 1


def _claim(room: int) -> list[DomainCheck]:
    if room <= 0:
        return []
    fresh = DomainCheck.objects.filter(created_at__gt=clock.now() - MAX_CHECK_TIME)
    return fresh.claim(room, owner="user_id")


def _run(check: DomainCheck, progress: queue.SimpleQueue[_Progress]) -> None:
    """Runs in a thread, so it must not use the database."""

    def report(lines: tuple[Check, ...], waits_for: str) -> None:
        progress.put(_Progress(check, lines, waits_for))

    try:
        reading = read_dapp(check.url, on_step=report)
    except Exception:
        logger.exception("a domain check failed", extra={"url": check.url})
        line = Check("Check", "failed", "it stopped for a reason of ours", "Try again.")
        reading = Reading(check.url, checks=(line,), reason=line.text)
    progress.put(_Progress(check, reading.checks, reading=reading))


def _latest(progress: queue.SimpleQueue[_Progress]) -> list[_Progress]:
    """Wait for progress; returns the newest state of each check that has any."""
    found: dict[DomainCheck, _Progress] = {}
    try:
        first = progress.get(timeout=POLL_S)
        found[first.check] = first
        while True:
            each = progress.get_nowait()
            found[each.check] = each
    except queue.Empty:
        return list(found.values())


def _write(progress: _Progress) -> None:
    check, reading = progress.check, progress.reading
    now = clock.now()
    lines, offer = list(progress.lines), None
    if reading is not None and reading.config is not None:
        if _keys_changed(reading):
            lines.append(Check(KEYS, "failed", KEYS_TEXT, KEYS_REMEDY))
        else:
            offer = {
                "name": reading.config.name,
                "description": reading.config.description,
                "types": offered_types(reading.config),
            }
    with transaction.atomic():
        DomainCheck.objects.held(check).update(
            lines=[asdict(line) for line in lines],
            waits_for=progress.waits_for,
            waits_since=now if progress.waits_for else None,
            offer=offer,
        )
        if reading is not None:
            check.finish(finished_at=now)
        subject = f"subscriptions.domaincheck:{check.pk}"
        record_events(
            [EventDraft(None, EventKind.DOMAIN_CHECK, subject, user_id=check.user_id)]
        )


def _keys_changed(reading: Reading) -> bool:
    """Store the reading if the dapp is known; True if its keys are not the pinned ones.

    Unknown dapps are stored when someone subscribes, so that checks do not fill the table.
    """
    if not DappDocument.objects.filter(url=reading.url).exists():
        return False
    keep_readings([reading])
    return DappDocument.objects.get(url=reading.url).changed_keys is not None
