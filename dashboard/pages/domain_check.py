"""The report on a domain before a person subscribes: each document, each rule, in words.

What is shown was found by ``subscriptions.services.dapps.reading``, which also reads the
documents when a person subscribes: what is called fine here can be subscribed to.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.conf import settings

from common import clock
from common.connections import release_database
from dashboard.pages.discover import DappCard, OfferedType
from subscriptions.models import DomainCheck
from subscriptions.services.dapps.reading import (
    CONFIG,
    DID_JSON,
    ENCRYPTION_KEY,
    IDENTIFIER,
    SIGNING_KEY,
    TYPES,
    Check,
)
from walletconnect.identity.did import AppUrl

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

LABELS: Final = (DID_JSON, IDENTIFIER, ENCRYPTION_KEY, SIGNING_KEY, CONFIG, TYPES)
FIRST_PAUSE_S: Final = 0.05
MAX_PAUSE_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class DomainReport:
    check: DomainCheck
    now: datetime
    lines: list[Check]

    @property
    def is_running(self) -> bool:
        return self.check.is_running(self.now)

    @property
    def is_stopped(self) -> bool:
        """It ended without a result: its worker went away."""
        return self.check.finished_at is None and not self.is_running

    @property
    def passed(self) -> bool:
        return self.check.offer is not None

    @property
    def remaining(self) -> list[str]:
        """The lines that come after what is waited for."""
        known = {line.label for line in self.lines} | {self.check.waits_for}
        return [label for label in LABELS if label not in known]

    @property
    def waits_since(self) -> datetime:
        return self.check.waits_since or self.check.created_at

    @property
    def elapsed_s(self) -> int:
        return max(0, int((self.now - self.waits_since).total_seconds()))

    def as_card(self) -> DappCard | None:
        """The dapp as its documents describe it, if they are in order."""
        offer = self.check.offer
        if offer is None:
            return None
        return DappCard(
            url=self.check.url,
            name=offer["name"] or AppUrl.parse(self.check.url).domain,
            description=offer["description"],
            types=[OfferedType(**each) for each in offer["types"]],
        )


def report_on(check: DomainCheck) -> DomainReport:
    return DomainReport(check, clock.now(), [Check(**each) for each in check.lines])


def check_of(user_id: int, check_id: UUID) -> DomainCheck | None:
    return DomainCheck.objects.filter(user_id=user_id, pk=check_id).first()


def wait_for(check: DomainCheck) -> None:
    """Give a quick domain the moment that it takes.

    The request's thread is its own; the database connection is given back meanwhile, so
    that requests that wait here keep none from the others.
    """
    until = clock.monotonic() + settings.LIMITS.domain_check_wait_ms / 1000
    pause = FIRST_PAUSE_S
    while check.finished_at is None and clock.monotonic() < until:
        release_database()
        time.sleep(pause)
        pause = min(pause * 1.5, MAX_PAUSE_S)
        check.refresh_from_db()
