"""Whom a notification would reach, and why not the others. Nothing is sent or stored."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from django.conf import settings

from castserver.models import Subscriber
from castserver.services.notifications.broadcast import (
    list_accounts,
    next_subscribers,
    subscribers_of,
)
from castserver.services.notifications.notify import (
    NOT_ALLOWED,
    NOT_FOUND,
    TOO_MANY,
    Accounts,
    Failure,
    check_content,
    find_accounts,
    require_known_type,
)
from common import clock, limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from castserver.models import Project
    from castserver.models.subscribers import SubscriberQuerySet
    from castserver.services.notifications.broadcast import Target
    from walletconnect.notify.values import NotifyMessage

CHUNK: Final = 10_000
# Accounts that are named with their reason; all are counted.
MAX_NAMED: Final = 100
ALSO_NOT_ALLOWED: Final = "the account does not allow the other type"


@dataclass(slots=True)
class DryRun:
    """``would_send`` and ``reasons`` count accounts; ``checked`` is their sum."""

    would_send: int = 0
    checked: int = 0
    # Larger than ``checked`` if the target exceeds the limit of a dry run.
    total: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    named: list[Failure] = field(default_factory=list)

    @property
    def left_out(self) -> int:
        return self.reasons.total()

    @property
    def is_partial(self) -> bool:
        return self.checked < self.total

    @property
    def by_reason(self) -> list[tuple[str, int]]:
        """For templates, which would look up ``items`` of a counter as a key."""
        return self.reasons.most_common()

    def add(self, project: Project, found: Accounts) -> None:
        keys = list(found.eligible)
        # A cost of nothing reads the buckets and takes no token.
        verdicts = limits.consume_all(
            "notify_subscriber", [f"{project.pk} {key}" for key in keys], cost=0
        )
        pairs = zip(keys, verdicts, strict=True)
        found.fail([key for key, verdict in pairs if verdict.remaining < 1], TOO_MANY)
        failed, not_found = found.left_out(found.eligible)
        failures = [*failed, *(Failure(text, NOT_FOUND) for text in not_found)]
        sent = sum(len(found.written[key]) for key in found.eligible)
        self.would_send += sent
        self.checked += sent + len(failures)
        self.reasons.update(each.reason for each in failures)
        self.named += failures[: MAX_NAMED - len(self.named)]


def dry_run(project: Project, message: NotifyMessage, target: Target) -> DryRun:
    """Check the content and up to ``dry_run_accounts`` accounts of the target."""
    check_content(message)
    require_known_type(project, message.type)
    result = DryRun()
    if target.accounts is not None:
        result.add(project, find_accounts(project, message.type, target.accounts))
        result.total = result.checked
        return result
    if target.recipients is not None:
        result.total = target.recipients.size
    else:
        live = Subscriber.objects.of(project.pk).live(clock.now())
        result.total = live.values("account_key").distinct().count()
    for found in _chunks(project, message, target):
        result.add(project, found)
        if result.checked >= settings.LIMITS.dry_run_accounts:
            break
    return result


def _chunks(
    project: Project, message: NotifyMessage, target: Target
) -> Iterator[Accounts]:
    cursor, size, is_last = "", min(CHUNK, settings.LIMITS.dry_run_accounts), False
    while not is_last:
        if target.recipients is not None:
            rows = list_accounts(target.recipients.pk, cursor, size)
            yield find_accounts(project, message.type, [text for _, text in rows])
            cursor, is_last = rows[-1][0] if rows else "", len(rows) < size
            continue
        # Also those who turned the type off, because sending does not report them.
        live = Subscriber.objects.of(project.pk).live(clock.now())
        found, cursor, is_last = next_subscribers(live, cursor, size)
        keys = set(found.eligible)
        allowing = _keys(subscribers_of(project, message.type, ""), keys)
        found.fail(keys - allowing, NOT_ALLOWED)
        if target.also_type:
            both = _keys(
                subscribers_of(project, message.type, target.also_type), allowing
            )
            found.fail(allowing - both, ALSO_NOT_ALLOWED)
        yield found


def _keys(subscribers: SubscriberQuerySet, keys: set[str]) -> set[str]:
    return set(subscribers.of_accounts(keys).values_list("account_key", flat=True))
