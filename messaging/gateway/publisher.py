"""Publishes due rows of the outbox as stored, in order per topic.

A round reads due rows in the order of their ids, splits them into chunks and sends the
chunks pipelined. All messages of a topic are in one chunk, so that a topic never has
two concurrent requests; what does not fit waits for the next round. A message that the
relay rejects for now delays its own topic only.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from common import clock
from common.backoff import Backoff
from common.failpoints import failpoint
from messaging.gateway.connection import RelayRefused
from messaging.gateway.running import all_of
from messaging.models import OutboxMessage
from walletconnect.crypto.keys import Topic
from walletconnect.relay.frames import BatchPublish, RelayErrorCode, RelayMethod
from walletconnect.relay.messages import Publication

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from messaging.gateway.connection import RelayConnection
    from messaging.gateway.database import Database
    from messaging.models import Party
    from walletconnect.json_values import JsonObject

logger = logging.getLogger(__name__)

State = OutboxMessage.State

ROUND_ROWS: Final = 1_000
CHUNK_MESSAGES: Final = 200
CHUNK_CHARACTERS: Final = 256 * 1024
BACKOFF: Final = Backoff(first_s=1.0, max_s=300.0)
# Attempts end with the TTL of a message, but not before a relay had time to restart.
MIN_TIMEOUT_S: Final = 120
MAX_REASON_LENGTH: Final = 200

INVALID_PARAMS: Final = -32602
# "requested ttl is above …": the code is that of every other handler error.
ABOUT_TTL: Final = re.compile(r"\bttl\b", re.IGNORECASE)
NEVER: Final = frozenset({int(RelayErrorCode.INVALID_PAYLOAD), INVALID_PARAMS})
# Errors about us or the relay, not about the messages of the request.
NOT_NOW: Final = frozenset(
    {
        int(RelayErrorCode.AUTH),
        int(RelayErrorCode.TOO_MANY_REQUESTS),
        int(RelayErrorCode.INTERNAL),
    }
)

_DUE = """
WITH held AS MATERIALIZED (
    SELECT topic, min(id) AS first FROM messaging_outboxmessage
    WHERE party = %(party)s AND state = 'due' AND attempts > 0
        AND next_attempt_at > %(now)s
    GROUP BY topic
)
SELECT id, topic, message, tag, ttl, prompt, attempts, created_at
FROM messaging_outboxmessage AS due
WHERE party = %(party)s AND state = 'due'
    AND (attempts = 0 OR next_attempt_at <= %(now)s)
    AND NOT EXISTS (
        SELECT 1 FROM held WHERE held.topic = due.topic AND held.first < due.id
    )
    AND (NOT %(several)s OR %(lane)s = coalesce((
        SELECT lane FROM messaging_topicsubscription AS subscribed
        WHERE subscribed.party = %(party)s AND subscribed.topic = due.topic
    ), 0))
ORDER BY id LIMIT %(limit)s
"""

_SENT = """
UPDATE messaging_outboxmessage
SET state = 'sent', reason = '', sent_at = %(now)s
WHERE id = ANY(%(ids)b) AND state = 'due'
"""

_NOT_SENT = """
UPDATE messaging_outboxmessage AS kept SET
    state = fresh.state, reason = fresh.reason, attempts = fresh.attempts,
    next_attempt_at = fresh.next_attempt_at
FROM unnest(
    %(ids)b::bigint[], %(states)b::text[], %(reasons)b::text[], %(attempts)b::int[],
    %(next_attempts)b::timestamptz[]
) AS fresh (id, state, reason, attempts, next_attempt_at)
WHERE kept.id = fresh.id AND kept.state = 'due'
"""


@dataclass(frozen=True, slots=True)
class LaneContext:
    """The number of a lane, and how many lanes its party has."""

    number: int
    count: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Row:
    """A due row of the outbox."""

    pk: int
    topic: str
    message: str
    tag: int
    ttl: int
    prompt: bool
    attempts: int
    created_at: datetime

    def to_publication(self) -> Publication:
        return Publication(
            Topic(self.topic), self.message, self.tag, self.ttl, self.prompt
        )


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that the relay rejected, with the error."""

    row: Row
    code: int
    text: str

    def is_final(self, now: datetime) -> bool:
        if self.code in NEVER or ABOUT_TTL.search(self.text):
            return True
        timeout = timedelta(seconds=max(self.row.ttl, MIN_TIMEOUT_S))
        return now >= self.row.created_at + timeout


@dataclass(slots=True)
class Round:
    """The results of one round. Rows in neither list are sent again."""

    sent: list[int]
    rejected: list[Rejection]


def plan(rows: Iterable[Row]) -> list[list[Row]]:
    """Split rows into chunks, one request each; leaves out rows whose chunk is full."""
    chunks: list[list[Row]] = []
    characters: list[int] = []
    place_of_topic: dict[str, int] = {}
    closed: set[str] = set()
    for row in rows:
        if row.topic in closed:
            continue
        place = place_of_topic.get(row.topic, len(chunks) - 1)
        has_room = place >= 0 and (
            len(chunks[place]) < CHUNK_MESSAGES
            and characters[place] + len(row.message) <= CHUNK_CHARACTERS
        )
        if not has_room and row.topic in place_of_topic:
            closed.add(row.topic)
            continue
        if not has_room:
            place = len(chunks)
            chunks.append([])
            characters.append(0)
        chunks[place].append(row)
        characters[place] += len(row.message)
        place_of_topic[row.topic] = place
    return chunks


class Publisher:
    """Publishes the outbox of one party over the connection of one lane.

    A relay delivers a message to every client except its publisher. So the lane that has
    subscribed a topic also publishes on it; lane 0 publishes on all other topics.
    """

    def __init__(
        self,
        party: Party,
        database: Database,
        *,
        connection: RelayConnection,
        lanes: LaneContext,
    ) -> None:
        self._party = party
        self._lanes = lanes
        self._database = database
        self._connection = connection
        # Until the relay answers that it has no such method.
        self._in_batches = True

    async def publish_due(self) -> bool:
        """Publish one round; returns whether there were due rows."""
        found = await self._database.fetch(
            _DUE,
            {
                "party": self._party.value,
                "now": clock.now(),
                "limit": ROUND_ROWS,
                "lane": self._lanes.number,
                "several": self._lanes.count() > 1,
            },
        )
        if not found:
            return False
        chunks = plan(Row(*each) for each in found)
        failpoint("gateway.outbox.before_publish")
        round_ = Round([], [])
        try:
            await all_of(self._publish(chunk, round_) for chunk in chunks)
        finally:
            # Also when the connection was lost, so that accepted rows are not sent again.
            failpoint("gateway.outbox.before_mark")
            await self._mark(round_)
        failpoint("gateway.outbox.after_mark")
        return True

    async def _publish(self, chunk: Sequence[Row], round_: Round) -> None:
        if not self._in_batches or len(chunk) == 1:
            await self._publish_singly(chunk, round_)
            return
        batch = BatchPublish(tuple(row.to_publication() for row in chunk))
        try:
            await self._call(RelayMethod.BATCH_PUBLISH, batch.to_params())
        except RelayRefused as refusal:
            if refusal.code in NOT_NOW:
                round_.rejected += [
                    Rejection(row, refusal.code, refusal.message) for row in chunk
                ]
                return
            if refusal.is_unknown_method:
                self._in_batches = False
            # Find the rejected one; repeating the others is harmless.
            await self._publish_singly(chunk, round_)
        else:
            round_.sent += [row.pk for row in chunk]

    async def _publish_singly(self, chunk: Sequence[Row], round_: Round) -> None:
        by_topic: dict[str, list[Row]] = {}
        for row in chunk:
            by_topic.setdefault(row.topic, []).append(row)
        await all_of(self._publish_topic(rows, round_) for rows in by_topic.values())

    async def _publish_topic(self, rows: Sequence[Row], round_: Round) -> None:
        for row in rows:
            try:
                await self._call(RelayMethod.PUBLISH, row.to_publication().to_params())
            except RelayRefused as refusal:
                rejection = Rejection(row, refusal.code, refusal.message)
                round_.rejected.append(rejection)
                if not rejection.is_final(clock.now()):
                    return
            else:
                round_.sent.append(row.pk)

    async def _call(self, method: RelayMethod, params: JsonObject) -> None:
        if not await self._connection.request(method.wire, params):
            raise RelayRefused(int(RelayErrorCode.INTERNAL), "not accepted")

    async def _mark(self, round_: Round) -> None:
        now = clock.now()
        if round_.sent:
            await self._database.execute(_SENT, {"ids": round_.sent, "now": now})
        if round_.rejected:
            states = [
                State.FAILED if each.is_final(now) else State.DUE
                for each in round_.rejected
            ]
            attempts = [each.row.attempts + 1 for each in round_.rejected]
            reasons = [f"{each.code}: {each.text}" for each in round_.rejected]
            await self._database.execute(
                _NOT_SENT,
                {
                    "ids": [each.row.pk for each in round_.rejected],
                    "states": [state.value for state in states],
                    # PostgreSQL accepts no NUL in a text.
                    "reasons": [
                        reason.replace("\0", "")[:MAX_REASON_LENGTH]
                        for reason in reasons
                    ],
                    "attempts": attempts,
                    "next_attempts": [now + BACKOFF.delay(n) for n in attempts],
                },
            )
            logger.warning(
                "relay rejected %d messages of %s, the first because: %.100r",
                len(round_.rejected),
                self._party.value,
                round_.rejected[0].text,
            )
