"""Services on inbox, outbox and topic rows: receive, handle, sweep, prune, replay."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.db import connection, transaction

from common import clock, retention
from common.wake import enqueue_on_commit, wake
from messaging import handling, inbox
from messaging.inbox import HANDLE_TASK, Received
from messaging.models import InboxMessage, OutboxMessage, Party, TopicSubscription
from messaging.outbox import outbox_channel, topics_channel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


__all__ = ["Received", "receive"]

# Refused envelopes can be replayed for this long, for example after an upgrade.
KEEP_REFUSED_TEXT_FOR: Final = timedelta(days=1)
PRUNE_BATCH: Final = 1_000
REPLAYABLE: Final = (InboxMessage.State.FAILED, InboxMessage.State.REFUSED)


def receive(party: Party, received: Iterable[Received]) -> list[int]:
    """Insert messages of a History Server, each once; returns the keys of the new rows.

    The gateway inserts what a relay delivers without Django.
    """
    with transaction.atomic():
        fresh = inbox.insert(party, received)
        if fresh:
            start_handling()
    return fresh


def start_handling() -> None:
    """Start a worker on the inbox after commit. It claims all that is due."""
    enqueue_on_commit(HANDLE_TASK)


def handle_due(budget_s: float) -> bool:
    """Handle due messages for ``budget_s``; returns whether any may be left."""
    until = clock.monotonic() + budget_s
    while clock.monotonic() < until:
        batch = inbox.claim()
        if not batch.rows:
            return False
        handling.handle(batch)
    return True


# --- the sweep ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found due."""

    inbox: bool
    outbox: tuple[Party, ...]
    topics: tuple[Party, ...]


def sweep() -> Swept:
    """Resend wake-ups for all that is due; Redis may have lost them."""
    now = clock.now()
    due = OutboxMessage.objects.filter(
        state=OutboxMessage.State.DUE, next_attempt_at__lte=now
    )
    unconfirmed = TopicSubscription.objects.filter(confirmed_at=None)
    found = Swept(
        inbox=inbox.is_anything_due(),
        outbox=tuple(party for party in Party if due.filter(party=party).exists()),
        topics=tuple(
            party for party in Party if unconfirmed.filter(party=party).exists()
        ),
    )
    if found.inbox:
        start_handling()
    for party in found.outbox:
        wake(outbox_channel(party))
    for party in found.topics:
        wake(topics_channel(party))
    return found


# --- pruning --------------------------------------------------------------------------

_PRUNE: Final[tuple[tuple[str, str | timedelta], ...]] = (
    # Statement, and how old a row must be. Marks of handled messages outlive every copy
    # that a relay may still deliver (``common.limits.MIN_KEEP_DAYS``).
    (
        """DELETE FROM messaging_inboxmessage WHERE id IN (
            SELECT id FROM messaging_inboxmessage
            WHERE received_at < %s AND state <> 'due'
            ORDER BY received_at LIMIT %s FOR UPDATE SKIP LOCKED)""",
        "keep_handled_messages_days",
    ),
    (
        """UPDATE messaging_inboxmessage SET message = '' WHERE id IN (
            SELECT id FROM messaging_inboxmessage
            WHERE received_at < %s AND state = 'refused' AND message <> ''
            ORDER BY received_at LIMIT %s FOR UPDATE SKIP LOCKED)""",
        KEEP_REFUSED_TEXT_FOR,
    ),
    (
        """DELETE FROM messaging_outboxmessage WHERE id IN (
            SELECT id FROM messaging_outboxmessage
            WHERE created_at < %s AND state = 'sent'
            ORDER BY created_at LIMIT %s FOR UPDATE SKIP LOCKED)""",
        "keep_sent_messages_h",
    ),
    (
        """DELETE FROM messaging_outboxmessage WHERE id IN (
            SELECT id FROM messaging_outboxmessage
            WHERE created_at < %s AND state = 'failed'
            ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)""",
        "keep_handled_messages_days",
    ),
    (
        """DELETE FROM messaging_topicsubscription WHERE id IN (
            SELECT id FROM messaging_topicsubscription
            WHERE confirmed_at < %s AND state = 'unwanted'
            ORDER BY confirmed_at LIMIT %s FOR UPDATE SKIP LOCKED)""",
        timedelta(days=1),
    ),
)


def prune() -> int:
    """Delete old rows in batches; returns their number."""
    return retention.in_turns(
        _prune_batches(statement, before)
        for statement, keep in _PRUNE
        if (before := retention.cutoff(keep)) is not None
    )


def _prune_batches(statement: str, before: datetime) -> Iterator[int]:
    while True:
        with connection.cursor() as cursor:
            cursor.execute(statement, [before, PRUNE_BATCH])
            count = int(cursor.rowcount)
        yield count
        if count < PRUNE_BATCH:
            return


# --- actions of operators ---------------------------------------------------------------


def replay(
    state: InboxMessage.State, *, topic: str = "", pks: Iterable[int] = ()
) -> int:
    """Make failed or refused messages due again; returns their number.

    Handled messages cannot be replayed: their envelopes are deleted.
    """
    if state not in REPLAYABLE:
        raise ValueError(f"messages in state {state} cannot be replayed")
    rows = InboxMessage.objects.filter(state=state).exclude(message="")
    if topic:
        rows = rows.filter(topic=topic)
    chosen = list(pks)
    if chosen:
        rows = rows.filter(pk__in=chosen)
    with transaction.atomic():
        now = clock.now()
        # `TryLater` is limited by the age of the row, so the age starts again.
        count = rows.update(
            state=InboxMessage.State.DUE,
            attempts=0,
            reason="",
            received_at=now,
            next_attempt_at=now,
            leased_until=None,
        )
        if count:
            start_handling()
    return count


def publish_again(pks: Iterable[int]) -> int:
    """Make failed messages of the outbox due again; returns their number."""
    rows = OutboxMessage.objects.filter(
        pk__in=list(pks), state=OutboxMessage.State.FAILED
    )
    now = clock.now()
    with transaction.atomic():
        parties = set(rows.values_list("party", flat=True))
        count = rows.update(
            state=OutboxMessage.State.DUE, attempts=0, reason="", next_attempt_at=now
        )
        for party in parties:
            wake(outbox_channel(Party(party)))
    return count


def cancel(pks: Iterable[int]) -> int:
    """Cancel messages that are not published yet; returns their number."""
    return OutboxMessage.objects.filter(
        pk__in=list(pks), state=OutboxMessage.State.DUE
    ).update(state=OutboxMessage.State.FAILED, reason="cancelled")


# --- for /readyz and /metrics -----------------------------------------------------------


# The first due row of every party and shard, by one step into the index of due rows for
# each: at most 8,192 steps, however many rows are due or were sent. Ordered by id, the same
# index would have to be read and sorted as a whole, or the table from its oldest row on.
# And the first ten thousand rows, so that in a short queue a row that was made due again
# does not hide a later one.
OLDEST_IN_OUTBOX: Final = """
WITH RECURSIVE head AS (
    (
        SELECT party, shard, {column} AS since FROM messaging_outboxmessage
        WHERE state = 'due' AND {condition} ORDER BY party, shard, id LIMIT 1
    )
    UNION ALL
    SELECT later.* FROM head CROSS JOIN LATERAL (
        SELECT party, shard, {column} AS since FROM messaging_outboxmessage
        WHERE state = 'due' AND {condition} AND (party, shard) > (head.party, head.shard)
        ORDER BY party, shard, id LIMIT 1
    ) AS later
)
SELECT least(
    (SELECT min(since) FROM head),
    (
        SELECT min(since) FROM (
            SELECT {column} AS since FROM messaging_outboxmessage
            WHERE state = 'due' AND {condition} ORDER BY party, shard, id LIMIT 10000
        ) AS first
    )
)
"""


def oldest_due_in_outbox() -> datetime | None:
    """When the oldest message that is not published yet was written."""
    with connection.cursor() as cursor:
        cursor.execute(OLDEST_IN_OUTBOX.format(column="created_at", condition="true"))
        found: datetime | None = cursor.fetchone()[0]
    return found
