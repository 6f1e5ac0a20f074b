"""The rows of the inbox: inserted once, claimed in batches, settled.

``messaging.handling`` handles claimed batches; the gateway uses ``INSERT`` without Django.
The queue has SQL of its own (see docs/queues.md) because claims are ordered by topic:

* A claim is a row of ``InboxClaim`` for a whole batch, so that a message is written when
  it comes and when it is handled, and not in between: each time, its envelope would be
  copied and indexed again, which was a third of what PostgreSQL did for it.
* A claim is a lease. While a worker has rows of a topic, no other worker takes a row of
  that topic, so that the order within a topic holds across workers. A row that waits for
  its next attempt does not block later rows.
* A claim that expired, or whose database session is gone, belonged to a worker that died.
  Its rows are suspects: each gets a lease of its own (``leased_until`` in the row) and is
  claimed alone, so that a message which kills its worker affects no other.
* Claiming a row of a worker that is still alive is safe: the worker commits only if its
  claim still exists (``lock``).
* Workers of the release before lease every row by itself. Both kinds take no row that the
  other has leased or locked.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.conf import settings
from django.db import transaction

from common import clock
from common.cursors import column_cursor
from messaging.models import InboxMessage, Party

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import psycopg

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

_LEASED = "leased_until > %(now)s AND leased_by IN (SELECT pid FROM pg_stat_activity)"
_TOPIC_KEY = "hashtextextended(party || topic, 0)"
_ROW = f"""
id, party, topic, message_id, message, tag, published_at, received_at, attempts,
    {_TOPIC_KEY} AS topic_key
"""

# A claim that is lost with the power is as if never made, so its commit need not wait for
# the disk.
_BEGIN = """
SELECT pg_advisory_xact_lock(%s, %s), set_config('synchronous_commit', 'off', true)
"""

# The claims, and the rows with a lease of their own.
_LEASES = f"""
SELECT id, messages, topics, ({_LEASED}) IS TRUE FROM messaging_inboxclaim
UNION ALL
SELECT NULL, ARRAY[id], ARRAY[{_TOPIC_KEY}], ({_LEASED}) IS TRUE
FROM messaging_inboxmessage WHERE state = 'due' AND leased_until IS NOT NULL
"""  # noqa: S608  # constants of ours

# A claim that is locked has a live worker after all, which is in its transaction.
_TAKE_OVER = """
WITH abandoned AS (
    SELECT id, messages FROM messaging_inboxclaim
    WHERE id = ANY(%(claims)s) FOR UPDATE SKIP LOCKED
), ended AS (
    DELETE FROM messaging_inboxclaim AS claim USING abandoned
    WHERE claim.id = abandoned.id
)
UPDATE messaging_inboxmessage AS suspect SET leased_until = %(now)s, leased_by = NULL
FROM abandoned
WHERE suspect.id = ANY(abandoned.messages) AND suspect.state = 'due'
    AND suspect.leased_until IS NULL
"""

_INSERT_CLAIM = """
claimed AS (
    INSERT INTO messaging_inboxclaim (messages, topics, leased_until, leased_by)
    SELECT array_agg(id), array_agg(DISTINCT topic_key), %(lease)s, pg_backend_pid()
    FROM found HAVING count(*) > 0 RETURNING id
)
SELECT claimed.id, found.* FROM claimed CROSS JOIN found ORDER BY found.id
"""

_CLAIM = f"""
WITH found AS (
    SELECT {_ROW} FROM messaging_inboxmessage
    WHERE state = 'due' AND leased_until IS NULL AND next_attempt_at <= %(now)s
        AND id <> ALL(%(held)s::bigint[]) AND {_TOPIC_KEY} <> ALL(%(busy)s::bigint[])
    ORDER BY id LIMIT %(limit)s
), {_INSERT_CLAIM}
"""  # noqa: S608  # constants of ours

_CLAIM_SUSPECT = f"""
WITH found AS (
    UPDATE messaging_inboxmessage
    SET leased_until = %(lease)s, leased_by = pg_backend_pid(), attempts = attempts + 1
    WHERE id = (
        SELECT id FROM messaging_inboxmessage
        WHERE id = %(suspect)s AND state = 'due' FOR UPDATE SKIP LOCKED
    )
    RETURNING {_ROW}
), {_INSERT_CLAIM}
"""  # noqa: S608  # constants of ours

# The rows, too, because a worker of the release before, which knows no claims, may run.
_LOCK = """
WITH claim AS MATERIALIZED (
    SELECT id FROM messaging_inboxclaim WHERE id = %(claim)s FOR UPDATE
)
SELECT id FROM messaging_inboxmessage
WHERE EXISTS (SELECT FROM claim) AND id = ANY(%(ids)b) AND state = 'due'
    AND (leased_until IS NULL OR leased_until = %(lease)s)
ORDER BY id FOR UPDATE
"""

_KEEP = """
UPDATE messaging_inboxclaim SET messages = %(messages)b, topics = %(topics)b
WHERE id = %(claim)s
"""

_END = "DELETE FROM messaging_inboxclaim WHERE id = %s"

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
    AND (settled.leased_until IS NULL OR settled.leased_until = %(lease)s)
    AND EXISTS (SELECT FROM messaging_inboxclaim WHERE id = %(claim)s)
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
    # Stands for party and topic in the claim.
    topic_key: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that this worker may handle until ``lease``, in order of arrival."""

    rows: list[Row]
    lease: datetime
    # The key of the ``InboxClaim``; 0 without rows.
    claim: int


class _Lease(NamedTuple):
    """A claim, or without ``claim`` the lease of a single row."""

    claim: int | None
    messages: list[int]
    topics: list[int]
    is_held: bool


def claim(limit: int = BATCH) -> Batch:
    """Lease up to ``limit`` due rows."""
    now = clock.now()
    lease = now + LEASE
    with transaction.atomic(), column_cursor() as cursor:
        cursor.execute(_BEGIN, _CLAIM_LOCK)
        leases = _read_leases(cursor, now)
        abandoned = [each.claim for each in leases if each.claim and not each.is_held]
        if abandoned:
            cursor.execute(_TAKE_OVER, {"claims": abandoned, "now": now})
            leases = _read_leases(cursor, now)
        in_work = [each for each in leases if each.claim or each.is_held]
        held = {pk for each in in_work for pk in each.messages}
        busy = {topic for each in in_work for topic in each.topics}
        suspect = min(
            (
                each.messages[0]
                for each in leases
                if not each.claim
                and not each.is_held
                and held.isdisjoint(each.messages)
                and busy.isdisjoint(each.topics)
            ),
            default=None,
        )
        found = []
        if suspect is not None:
            cursor.execute(_CLAIM_SUSPECT, {"suspect": suspect, "lease": lease})
            found = cursor.fetchall()
        if not found:
            parameters = {
                "now": now,
                "lease": lease,
                "limit": limit,
                "held": list(held),
                # A suspect is handled before the later rows of its topic.
                "busy": list({topic for each in leases for topic in each.topics}),
            }
            cursor.execute(_CLAIM, parameters)
            found = cursor.fetchall()
    rows = [Row(pk, Party(party), *rest) for _, pk, party, *rest in found]
    return Batch(rows, lease, found[0][0] if found else 0)


def _read_leases(cursor: psycopg.Cursor[Any], now: datetime) -> list[_Lease]:
    cursor.execute(_LEASES, {"now": now})
    return [_Lease._make(row) for row in cursor.fetchall()]


def lock(batch: Batch, ids: Sequence[int]) -> set[int]:
    """Lock the claim, and those of its rows that are still to be handled.

    Without the claim there are none: another worker took over when it expired.
    """
    parameters = {"claim": batch.claim, "ids": list(ids), "lease": batch.lease}
    with column_cursor() as cursor:
        cursor.execute(_LOCK, parameters)
        return {pk for (pk,) in cursor.fetchall()}


def keep(batch: Batch, ids: Collection[int]) -> None:
    """Leave only these rows in the claim, so that others may have the other topics.

    Without rows the claim ends, and what is still due may be claimed again. Called in the
    transaction that handled the others, after ``lock``, or when nothing is left to do.
    """
    with column_cursor() as cursor:
        if ids:
            topics = {row.topic_key for row in batch.rows if row.pk in ids}
            parameters = {"messages": list(ids), "topics": list(topics)}
            cursor.execute(_KEEP, {**parameters, "claim": batch.claim})
        else:
            cursor.execute(_END, [batch.claim])


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


def settle(settlements: Sequence[Settlement], batch: Batch) -> None:
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
                "lease": batch.lease,
                "claim": batch.claim,
            },
        )


def is_anything_due() -> bool:
    """Counts leased rows: their worker may have died, which only a claim finds out."""
    return InboxMessage.objects.filter(
        state=InboxMessage.State.DUE, next_attempt_at__lte=clock.now()
    ).exists()
