"""The report of a domain check: each document and each rule with its result.

``common.dapp_documents`` makes the report and also reads the documents when
a user subscribes, so a domain that passes here can be subscribed to.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.conf import settings

from common import clock
from common.connections import release_database
from common.dapp_documents import (
    CONFIG,
    DID_JSON,
    ENCRYPTION_KEY,
    IDENTIFIER,
    SIGNING_KEY,
    TYPES,
    Check,
)
from dashboard.pages.discover import DappCard, OfferedType
from subscriptions.models import DomainCheck
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
        """It ended without a result: the worker was stopped."""
        return self.check.finished_at is None and not self.is_running

    @property
    def passed(self) -> bool:
        return self.check.offer is not None

    @property
    def remaining(self) -> list[str]:
        """Labels of the checks that have not started."""
        known = {line.label for line in self.lines} | {self.check.waits_for}
        return [label for label in LABELS if label not in known]

    @property
    def waits_since(self) -> datetime:
        return self.check.waits_since or self.check.created_at

    @property
    def elapsed_s(self) -> int:
        return max(0, int((self.now - self.waits_since).total_seconds()))

    def as_card(self) -> DappCard | None:
        """The dapp as described by its documents, if they are valid."""
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
    """Wait up to ``domain_check_wait_ms`` for the check to finish.

    Most domains answer within that time and need no second page. The database connection
    is returned to the pool while waiting, so that slow domains cannot exhaust it.
    """
    until = clock.monotonic() + settings.LIMITS.domain_check_wait_ms / 1000
    pause = FIRST_PAUSE_S
    while check.finished_at is None and clock.monotonic() < until:
        release_database()
        time.sleep(pause)
        pause = min(pause * 1.5, MAX_PAUSE_S)
        check.refresh_from_db()
