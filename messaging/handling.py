"""Handles a claimed batch of the inbox: opens, groups, calls handlers, settles.

A run is the messages of one handler call: one party, one tag. Order is kept within a
topic only, so runs are as long as that allows. A run is one transaction; if its handler
raises, it is repeated message by message in savepoints, so that only the message that
causes the exception fails.
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection
from django.db.transaction import atomic

from common import clock, entropy, histograms
from common.backoff import Backoff
from common.failpoints import failpoint
from common.outages import is_database_unavailable
from common.wake import enqueue_on_commit
from messaging import inbox
from messaging.dispatch import Inbound, NotHandled, Refused, Route, TryLater, route_of
from messaging.drop_counter import DropCounter
from messaging.inbox import MAX_ATTEMPTS, Batch, Row, Settlement
from messaging.models import InboxMessage, Party
from messaging.opening import open_all
from walletconnect.relay.methods import Tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from messaging.dispatch import Handler

logger = logging.getLogger(__name__)
refusals = DropCounter(logger, "refused")

State = InboxMessage.State

BACKOFF: Final = Backoff(first_s=2.0, max_s=300.0, max_attempts=MAX_ATTEMPTS)
# `TryLater` counts no attempts: a Keys Server may be unreachable for hours.
MAX_WAIT_S: Final = 300.0
# The first wait of `TryLater`: what is missing is often a task that runs just now.
MIN_WAIT_S: Final = 0.3
# `messaging.sweep` runs this often; only earlier attempts need a wake-up of their own.
SWEEP_INTERVAL_S: Final = 30.0
TRY_FOR: Final = timedelta(days=1)
# A run starts only with this much of the lease left, because its `prepare` may wait for
# the network. 60 s of lease less 25 s exceed the 20 s that a task works.
MIN_LEASE: Final = timedelta(seconds=25)
# Labels of the histogram from publication to commit.
KINDS: Final = {
    int(Tag.NOTIFY_MESSAGE): "notification",
    int(Tag.SYNC_SET): "sync",
    int(Tag.SYNC_DELETE): "sync",
}


class Crashed(NotHandled):
    """A handler raised an unexpected exception; the reason is the name of its class."""


@dataclass(slots=True)
class Run:
    """Messages for one call of one handler."""

    party: Party
    tag: int
    messages: list[Inbound] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Work:
    """What a run is part of, and the rows of the batch that come after it."""

    batch: Batch
    rows: Mapping[int, Row]
    left: frozenset[int]


def group(messages: Iterable[Inbound]) -> list[Run]:
    """As few runs as the order within each topic allows.

    A message joins the earliest run of its kind that does not come before a run in
    which its topic already has a message.
    """
    runs: list[Run] = []
    kinds: dict[tuple[Party, int], list[int]] = {}
    last_of_topic: dict[tuple[Party, str], int] = {}
    for message in messages:
        earliest = last_of_topic.get((message.party, message.topic), 0)
        same_kind = kinds.setdefault((message.party, message.tag), [])
        found = next((index for index in same_kind if index >= earliest), None)
        if found is None:
            found = len(runs)
            runs.append(Run(message.party, message.tag))
            same_kind.append(found)
        runs[found].messages.append(message)
        last_of_topic[message.party, message.topic] = found
    return runs


def handle(batch: Batch) -> None:
    """Handle a claimed batch; runs that the lease leaves no time for are released."""
    failpoint("inbox.after_claim", (row.tag for row in batch.rows))
    rows = {row.pk: row for row in batch.rows}
    dead = {
        row.pk: Crashed(f"the worker died {row.attempts} times")
        for row in batch.rows
        if row.attempts >= MAX_ATTEMPTS
    }
    opened, refused = open_all([row for row in batch.rows if row.pk not in dead])
    _settle(rows, {**dead, **refused}, batch)
    is_claimed = bool(rows)
    left = {message.pk for message in opened}
    for run in group(opened):
        if batch.lease - clock.now() < MIN_LEASE:
            break
        route = route_of(run.party, run.tag)
        if route is None:  # `open_all` refuses these
            raise LookupError(f"no handler for {run.party} {run.tag}")
        declined = _prepare(route, run.messages)
        _settle(rows, declined, batch)
        left.difference_update(message.pk for message in run.messages)
        ready = [message for message in run.messages if message.pk not in declined]
        if not ready:
            continue
        work = Work(batch, rows, frozenset(left))
        if len(ready) == 1 or not _all_at_once(route.handler, ready, work):
            _one_by_one(route.handler, ready, work)
        is_claimed = bool(left)
        failpoint("inbox.after_commit", [run.tag])
    if is_claimed:
        inbox.keep(batch, ())
    refusals.flush()


def _prepare(route: Route, messages: list[Inbound]) -> dict[int, NotHandled]:
    if route.prepare is None:
        return {}
    try:
        return dict(route.prepare(messages) or {})
    except Exception as error:
        if not isinstance(error, NotHandled):
            _raise_if_fatal(error)
    declined: dict[int, NotHandled] = {}
    for message in messages:
        try:
            declined.update(route.prepare([message]) or {})
        except Exception as error:
            declined[message.pk] = _reason_of(error, message)
    return declined


def _all_at_once(
    handler: Handler,
    messages: list[Inbound],
    work: Work,
) -> bool:
    """Whether the run was committed."""
    try:
        with atomic():
            ours = inbox.lock(work.batch, [message.pk for message in messages])
            taken = [message for message in messages if message.pk in ours]
            declined = dict(handler(taken) or {}) if taken else {}
            _finish(taken, declined, work)
            failpoint("inbox.before_commit", (message.tag for message in taken))
    except Exception as error:
        _raise_if_fatal(error)
        logger.info(
            "run of %d messages is repeated one by one: %s",
            len(messages),
            type(error).__name__,
        )
        return False
    return True


def _one_by_one(
    handler: Handler,
    messages: list[Inbound],
    work: Work,
) -> None:
    with atomic():
        ours = inbox.lock(work.batch, [message.pk for message in messages])
        taken = [message for message in messages if message.pk in ours]
        declined: dict[int, NotHandled] = {}
        for message in taken:
            try:
                with atomic():
                    declined.update(handler([message]) or {})
            except Exception as error:
                declined[message.pk] = _reason_of(error, message)
        _finish(taken, declined, work)
        failpoint("inbox.before_commit", (message.tag for message in taken))


def _finish(
    taken: Sequence[Inbound],
    declined: Mapping[int, NotHandled],
    work: Work,
) -> None:
    handled = [each for each in taken if each.pk not in declined]
    inbox.mark_handled([each.pk for each in handled])
    _settle(work.rows, declined, work.batch)
    inbox.keep(work.batch, work.left)
    now_ms = clock.now_ms()
    durations: dict[str, list[float]] = {}
    for each in handled:
        kind = KINDS.get(each.tag, "other")
        durations.setdefault(kind, []).append((now_ms - each.published_at) / 1000)
    histograms.observe("applied", durations)


# --- messages that were not handled -----------------------------------------------------


def _reason_of(error: Exception, message: Inbound) -> NotHandled:
    """Translate an exception to the outcome of the message that raised it."""
    _raise_if_fatal(error)
    if isinstance(error, NotHandled):
        return error
    name = type(error).__name__
    if is_database_unavailable(error):
        # A deadlock, a time-out or a database that is read-only is no fault of the message.
        return TryLater(f"database: {name}")
    # Neither the exception's text nor its locals are logged: both may hold content.
    logger.error(
        "handler of tag %d failed with %s",
        message.tag,
        name,
        extra={
            "inbox_message": message.pk,
            "where": "".join(traceback.format_tb(error.__traceback__)[-3:]),
        },
    )
    return Crashed(name)


def _raise_if_fatal(error: Exception) -> None:
    """Abandon the batch if its time or the database is gone; its lease expires."""
    if isinstance(error, SoftTimeLimitExceeded):
        raise error
    if is_database_unavailable(error):
        driver_connection = connection.connection
        if driver_connection is None or driver_connection.closed:
            raise error


def _settle(
    rows: Mapping[int, Row], declined: Mapping[int, NotHandled], batch: Batch
) -> None:
    settlements = [_settlement(rows[pk], reason) for pk, reason in declined.items()]
    inbox.settle(settlements, batch)
    now = clock.now()
    for settlement in settlements:
        if settlement.state is State.REFUSED:
            refusals.count(settlement.reason)
        elif settlement.state is State.DUE:
            wait_s = (settlement.next_attempt_at - now).total_seconds()
            if wait_s < SWEEP_INTERVAL_S:
                enqueue_on_commit(inbox.HANDLE_TASK, delay_s=max(wait_s, 0.1))


def _settlement(row: Row, reason: NotHandled) -> Settlement:
    now = clock.now()
    if isinstance(reason, Refused):
        return Settlement(row.pk, State.REFUSED, reason.reason, row.attempts, now)
    if isinstance(reason, TryLater):
        age = now - row.received_at
        state = State.DUE if age < TRY_FOR else State.FAILED
        # Half of its age: the delay grows without a counter.
        delay = timedelta(
            seconds=entropy.jitter(
                min(MAX_WAIT_S, max(MIN_WAIT_S, age.total_seconds() / 2))
            )
        )
        attempts = row.attempts
    else:
        attempts = min(row.attempts + 1, MAX_ATTEMPTS)
        state = State.FAILED if BACKOFF.is_over(attempts) else State.DUE
        delay = BACKOFF.delay(attempts)
    if state is State.FAILED:
        logger.error("message failed for good", extra={"inbox_message": row.pk})
    return Settlement(row.pk, state, reason.reason, attempts, now + delay)
