"""The rows of the inbox: inserted once, claimed in batches, settled.

``messaging.handling`` handles claimed batches; the gateway uses ``INSERT`` without Django.
The queue has SQL of its own (see docs/queues.md) because claims are ordered by topic:

* A claim is a lease. While a worker has rows of a topic, no other worker takes a row of
  that topic, so that the order within a topic holds across workers. A row that waits for
  its next attempt does not block later rows.
* A lease that expired, or whose database session is gone, belonged to a worker that died.
  Its rows are claimed one at a time from then on, so that a message which kills its worker
  affects no other.
* Claiming a row of a worker that is still alive is safe: the worker commits only if its
  lease is still in the row (``lock``).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import transaction

from common import clock
from common.cursors import column_cursor
from messaging.models import InboxMessage, Party

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HANDLE_TASK: Final = "messaging.handle_inbox"
LEASE: Final = timedelta(seconds=60)
BATCH: Final = 500
MAX_ATTEMPTS: Final = 8
MAX_REASON_LENGTH: Final = 200

# Serializes claims, so that each sees the leases of the one before. Arbitrary numbers.
_CLAIM_LOCK: Final = (7_319, 1)

_TOPIC = re.compile(r"[0-9a-f]{64}")
_MAX_TAG: Final = 2**31 - 1
_MAX_TIME: Final = 2**53 - 1

# Due an hour ago, so that a worker whose clock is behind claims it at once, too.
INSERT: Final = """
INSERT INTO messaging_inboxmessage
    (party, topic, message_id, message, tag, published_at, received_at,
     state, attempts, next_attempt_at, reason)
SELECT %(party)s, topic, message_id, message, tag, published_at, %(now)s,
    'due', 0, %(now)s::timestamptz - interval '1 hour', ''
FROM unnest(
    %(topics)b::text[], %(message_ids)b::text[], %(messages)b::text[],
    %(tags)b::int[], %(published)b::bigint[]
) WITH ORDINALITY AS received (topic, message_id, message, tag, published_at, place)
ORDER BY place
ON CONFLICT (party, (md5(topic || message_id)::uuid)) DO NOTHING
RETURNING id
"""

_CLAIM = """
WITH busy AS MATERIALIZED (
    SELECT DISTINCT party, topic FROM messaging_inboxmessage
    WHERE state = 'due' AND leased_until IS NOT NULL
), found AS (
    SELECT id FROM messaging_inboxmessage AS due
    WHERE state = 'due' AND leased_until IS NULL AND next_attempt_at <= %(now)s
        AND NOT EXISTS (
            SELECT 1 FROM busy WHERE busy.party = due.party AND busy.topic = due.topic
        )
    ORDER BY id LIMIT %(limit)s FOR UPDATE OF due SKIP LOCKED
)
UPDATE messaging_inboxmessage AS claimed
SET leased_until = %(lease)s, leased_by = pg_backend_pid()
FROM found WHERE claimed.id = found.id
RETURNING claimed.id, party, topic, message_id, message, tag, published_at,
    received_at, attempts
"""

_CLAIM_ABANDONED = """
WITH leased AS MATERIALIZED (
    SELECT id, party, topic,
        leased_until > %(now)s
        AND leased_by IN (SELECT pid FROM pg_stat_activity) AS is_held
    FROM messaging_inboxmessage
    WHERE state = 'due' AND leased_until IS NOT NULL
), found AS (
    SELECT id FROM messaging_inboxmessage AS due
    WHERE id IN (
        SELECT id FROM leased AS free WHERE is_held IS NOT TRUE AND NOT EXISTS (
            SELECT 1 FROM leased AS busy
            WHERE is_held AND busy.party = free.party AND busy.topic = free.topic
        )
    )
    ORDER BY id LIMIT 1 FOR UPDATE OF due SKIP LOCKED
)
UPDATE messaging_inboxmessage AS claimed
SET leased_until = %(lease)s, leased_by = pg_backend_pid(), attempts = attempts + 1
FROM found WHERE claimed.id = found.id
RETURNING claimed.id, party, topic, message_id, message, tag, published_at,
    received_at, attempts
"""

_LOCK = """
SELECT id FROM messaging_inboxmessage
WHERE id = ANY(%(ids)b) AND state = 'due' AND leased_until = %(lease)s
ORDER BY id FOR UPDATE
"""

_HANDLED = """
UPDATE messaging_inboxmessage SET
    state = 'handled', message = '', reason = '', handled_at = %(now)s,
    leased_until = NULL
WHERE id = ANY(%(ids)b)
"""

_SETTLE = """
UPDATE messaging_inboxmessage AS settled SET
    state = fresh.state, reason = fresh.reason, attempts = fresh.attempts,
    next_attempt_at = fresh.next_attempt_at, leased_until = NULL
FROM unnest(
    %(ids)b::bigint[], %(states)b::text[], %(reasons)b::text[], %(attempts)b::int[],
    %(next_attempts)b::timestamptz[]
) AS fresh (id, state, reason, attempts, next_attempt_at)
WHERE settled.id = fresh.id AND settled.state = 'due'
    AND settled.leased_until = %(lease)s
"""


@dataclass(frozen=True, slots=True)
class Received:
    """A message as received from a relay or a History Server."""

    topic: str
    message: str
    tag: int
    published_at: int

    def is_storable(self) -> bool:
        """Whether the columns accept it; callers drop what is not storable."""
        return (
            bool(_TOPIC.fullmatch(self.topic))
            and len(self.message) <= settings.LIMITS.relay_message_bytes
            # An envelope is base64; PostgreSQL, besides, takes no NUL in a text.
            and self.message.isascii()
            and "\0" not in self.message
            and 0 <= self.tag <= _MAX_TAG
            and 0 <= self.published_at <= _MAX_TIME
        )


def insert_parameters(
    party: Party, received: Sequence[Received], *, now: datetime
) -> dict[str, Any]:
    """The parameters of ``INSERT``; everything in ``received`` must be storable."""
    return {
        "party": Party(party).value,
        "now": now,
        "topics": [each.topic for each in received],
        "message_ids": [
            hashlib.sha256(each.message.encode()).hexdigest() for each in received
        ],
        "messages": [each.message for each in received],
        "tags": [each.tag for each in received],
        "published": [each.published_at for each in received],
    }


def insert(party: Party, received: Iterable[Received]) -> list[int]:
    """Insert new messages in this order; returns the primary keys of the new rows."""
    storable = [each for each in received if each.is_storable()]
    if not storable:
        return []
    with column_cursor() as cursor:
        cursor.execute(INSERT, insert_parameters(party, storable, now=clock.now()))
        return [pk for (pk,) in cursor.fetchall()]


# --- claiming -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """A claimed row of the inbox."""

    pk: int
    party: Party
    topic: str
    message_id: str
    message: str
    tag: int
    published_at: int
    received_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that this worker may handle until ``lease``, in order of arrival."""

    rows: list[Row]
    lease: datetime


def claim(limit: int = BATCH) -> Batch:
    """Lease up to ``limit`` due rows."""
    now = clock.now()
    lease = now + LEASE
    parameters: dict[str, Any] = {"now": now, "lease": lease, "limit": limit}
    with transaction.atomic(), column_cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", _CLAIM_LOCK)
        cursor.execute(_CLAIM_ABANDONED, parameters)
        found = cursor.fetchall()
        if not found:
            cursor.execute(_CLAIM, parameters)
            found = cursor.fetchall()
    rows = [
        Row(pk, Party(party), *rest)
        for pk, party, *rest in sorted(found, key=lambda row: row[0])
    ]
    return Batch(rows, lease)


def lock(ids: Sequence[int], lease: datetime) -> set[int]:
    """Lock the rows of ``ids`` that still have our lease; returns their keys.

    Missing ones were claimed by another worker after the lease expired.
    """
    with column_cursor() as cursor:
        cursor.execute(_LOCK, {"ids": list(ids), "lease": lease})
        return {pk for (pk,) in cursor.fetchall()}


# --- settling -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settlement:
    """The new state of a row that was not handled."""

    pk: int
    state: InboxMessage.State
    reason: str
    attempts: int
    next_attempt_at: datetime


def mark_handled(ids: Sequence[int]) -> None:
    """To be called in the transaction of the handler. Deletes the envelope."""
    if not ids:
        return
    with column_cursor() as cursor:
        cursor.execute(_HANDLED, {"ids": list(ids), "now": clock.now()})


def settle(settlements: Sequence[Settlement], lease: datetime) -> None:
    if not settlements:
        return
    with column_cursor() as cursor:
        cursor.execute(
            _SETTLE,
            {
                "ids": [each.pk for each in settlements],
                "states": [each.state.value for each in settlements],
                "reasons": [each.reason[:MAX_REASON_LENGTH] for each in settlements],
                "attempts": [each.attempts for each in settlements],
                "next_attempts": [each.next_attempt_at for each in settlements],
                "lease": lease,
            },
        )


def release(ids: Sequence[int], lease: datetime) -> None:
    """End the lease of rows that there was no time for."""
    InboxMessage.objects.filter(
        pk__in=ids, state=InboxMessage.State.DUE, leased_until=lease
    ).update(leased_until=None)


def is_anything_due() -> bool:
    """Counts leased rows: their worker may have died, which only a claim finds out."""
    return InboxMessage.objects.filter(
        state=InboxMessage.State.DUE, next_attempt_at__lte=clock.now()
    ).exists()
