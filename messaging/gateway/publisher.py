"""Publishes due rows of the outbox as stored, in order per topic.

A round splits due rows into chunks and sends the chunks pipelined. All messages of a topic are in one chunk, so that a topic never has
two concurrent requests; what does not fit waits for the next round. A message that the
relay rejects for now delays its own topic only.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from common import clock, histograms
from common.backoff import Backoff
from common.failpoints import failpoint
from messaging.gateway.connection import RelayRefused
from messaging.gateway.running import all_of
from messaging.models import OutboxMessage
from walletconnect.relay.frames import RelayErrorCode, RelayMethod

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from messaging.gateway.connection import RelayConnection
    from messaging.gateway.database import Database
    from messaging.gateway.due_rows import Row
    from messaging.models import Party
    from walletconnect.json_values import JsonObject, JsonValue

logger = logging.getLogger(__name__)

State = OutboxMessage.State

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

_SENT = """
UPDATE messaging_outboxmessage
SET state = 'sent', message = '', reason = '', sent_at = %(now)s
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

    sent: list[Row]
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
    """Publishes rows of one party over the connection of one lane.

    A relay delivers a message to every client except its publisher. So the lane that has
    subscribed a topic, because the topic is in its shards, also publishes on it.
    """

    def __init__(
        self,
        party: Party,
        database: Database,
        connection: RelayConnection,
        *,
        durations: Counter[str],
    ) -> None:
        """``durations`` collects the times in the outbox (``common.histograms``)."""
        self._party = party
        self._database = database
        self._connection = connection
        self._durations = durations
        # Until the relay answers that it has no such method.
        self._in_batches = True

    async def publish(self, rows: Sequence[Row]) -> None:
        """Publish one round, and mark what the relay accepted."""
        chunks = plan(rows)
        round_ = Round([], [])
        tags = {row.tag for row in rows}
        failpoint("gateway.outbox.before_publish", tags)
        try:
            await all_of(self._publish(chunk, round_) for chunk in chunks)
        finally:
            # Also when the connection was lost, so that accepted rows are not sent again.
            failpoint("gateway.outbox.before_mark", tags)
            await self._mark(round_)
        failpoint("gateway.outbox.after_mark", tags)

    async def _publish(self, chunk: Sequence[Row], round_: Round) -> None:
        if not self._in_batches or len(chunk) == 1:
            await self._publish_singly(chunk, round_)
            return
        messages: list[JsonValue] = [row.to_params() for row in chunk]
        try:
            await self._call(RelayMethod.BATCH_PUBLISH, {"messages": messages})
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
            round_.sent += chunk

    async def _publish_singly(self, chunk: Sequence[Row], round_: Round) -> None:
        by_topic: dict[str, list[Row]] = {}
        for row in chunk:
            by_topic.setdefault(row.topic, []).append(row)
        await all_of(self._publish_topic(rows, round_) for rows in by_topic.values())

    async def _publish_topic(self, rows: Sequence[Row], round_: Round) -> None:
        for row in rows:
            try:
                await self._call(RelayMethod.PUBLISH, row.to_params())
            except RelayRefused as refusal:
                rejection = Rejection(row, refusal.code, refusal.message)
                round_.rejected.append(rejection)
                if not rejection.is_final(clock.now()):
                    return
            else:
                round_.sent.append(row)

    async def _call(self, method: RelayMethod, params: JsonObject) -> None:
        if not await self._connection.request(method.wire, params):
            raise RelayRefused(int(RelayErrorCode.INTERNAL), "not accepted")

    async def _mark(self, round_: Round) -> None:
        now = clock.now()
        if round_.sent:
            ids = [row.pk for row in round_.sent]
            await self._database.execute(_SENT, {"ids": ids, "now": now})
            self._durations.update(
                histograms.tally(
                    "outbox",
                    {
                        self._party.value: [
                            (now - row.created_at).total_seconds()
                            for row in round_.sent
                        ]
                    },
                )
            )
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
