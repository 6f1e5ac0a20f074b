"""Topics: keeps the relay subscriptions of a connection equal to the rows.

Calls of one connection are made one after the other, so the relay ends in the state of
the rows. A row is marked confirmed only if it has not changed since it was read.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, LiteralString, TypeAlias

from common import clock
from common.failpoints import failpoint
from messaging.confirmations import Confirmed, call_all
from messaging.gateway.connection import RelayRefused
from messaging.gateway.running import all_of
from walletconnect.relay.frames import (
    MAX_BATCH,
    BatchSubscribe,
    BatchUnsubscribe,
    RelayMethod,
    Subscribe,
    Unsubscribe,
    subscription_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from messaging.gateway.connection import RelayConnection
    from messaging.gateway.database import Database, DjangoThread
    from messaging.models import Party
    from messaging.shards import ShardRange
    from walletconnect.crypto.keys import Topic
    from walletconnect.json_values import JsonObject

logger = logging.getLogger(__name__)

# Concurrent calls at a relay without batch methods.
WINDOW: Final = 50

_WANTED = """
SELECT topic, state, steps, changed_at, confirmed_at FROM messaging_topicsubscription
WHERE party = %(party)s AND topic > %(after)s AND topic < %(end)s AND state = 'wanted'
ORDER BY topic LIMIT %(limit)s
"""

# Unwanted ones first: a relay counts the topics of a client.
_PENDING = """
SELECT topic, state, steps, changed_at, confirmed_at FROM messaging_topicsubscription
WHERE party = %(party)s AND topic >= %(after)s AND topic < %(end)s
    AND confirmed_at IS NULL
ORDER BY state = 'unwanted' DESC, topic LIMIT %(limit)s
"""

COUNT: Final = """
SELECT count(*) FROM messaging_topicsubscription
WHERE party = %(party)s AND topic >= %(first)s AND topic < %(end)s AND state = 'wanted'
"""

_MARK_STALE = """
UPDATE messaging_topicsubscription SET confirmed_at = NULL
WHERE party = %(party)s AND topic = ANY(%(topics)s)
"""

_CONFIRM = """
UPDATE messaging_topicsubscription AS kept SET confirmed_at = %(now)s, steps = '[]'
FROM unnest(%(topics)b::text[], %(changed)b::timestamptz[]) AS confirmed (topic, changed_at)
WHERE kept.party = %(party)s AND kept.topic = confirmed.topic
    AND kept.changed_at = confirmed.changed_at AND kept.confirmed_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A topic's row as it was read."""

    topic: Topic
    state: str
    callbacks: list[dict[str, Any]]
    changed_at: datetime
    confirmed_at: datetime | None

    @property
    def is_wanted(self) -> bool:
        return self.state == "wanted"


Single: TypeAlias = "tuple[Row, RelayMethod, JsonObject]"


class TooManyTopics(Exception):
    """The shards of a lane have more topics than a client may subscribe."""


class TopicSubscriber:
    """Subscribes and unsubscribes the topics of one lane on its connection."""

    def __init__(
        self,
        party: Party,
        database: Database,
        *,
        shards: ShardRange,
        max_topics: int,
        connection: RelayConnection,
        django: DjangoThread,
    ) -> None:
        self._party = party
        self._shards = shards
        self._max_topics = max_topics
        # At most so many topics can be new before they have to be counted.
        self._room = 0
        self._database = database
        self._connection = connection
        self._django = django
        self._in_batches = True

    async def subscribe_all(self, is_stopping: Callable[[], bool]) -> int:
        """After a connect: subscribe every wanted topic, confirmed before or not.

        Raises ``TooManyTopics``, as ``settle_pending`` does.
        """
        await self._count_topics()
        # A text below every topic of the shards and above those of the shards before.
        after, count = self._shards.first_topic, 0
        while not is_stopping():
            rows = await self._rows(_WANTED, after)
            if not rows:
                break
            await self._subscribe(rows)
            after, count = rows[-1].topic, count + len(rows)
        return count

    async def settle_pending(self) -> bool:
        """Send one batch of pending changes; returns whether there may be more."""
        rows = await self._rows(_PENDING, self._shards.first_topic)
        wanted = [row for row in rows if row.is_wanted]
        unwanted = [row for row in rows if not row.is_wanted]
        if wanted:
            self._room -= len(wanted)
            if self._room < 0:
                await self._count_topics()
            await self._subscribe(wanted)
        if unwanted:
            await self._unsubscribe(unwanted)
        return len(rows) == MAX_BATCH

    async def _count_topics(self) -> None:
        [(count,)] = await self._database.fetch(
            COUNT,
            {
                "party": self._party.value,
                "first": self._shards.first_topic,
                "end": self._shards.end_topic,
            },
        )
        if count > self._max_topics and len(self._shards) > 1:
            raise TooManyTopics
        self._room = self._max_topics - count

    async def _rows(self, statement: LiteralString, after: str) -> list[Row]:
        found = await self._database.fetch(
            statement,
            {
                "party": self._party.value,
                "after": after,
                "end": self._shards.end_topic,
                "limit": MAX_BATCH,
            },
        )
        return [Row(*each) for each in found]

    async def _subscribe(self, rows: Sequence[Row]) -> None:
        topics = tuple(row.topic for row in rows)
        done = await self._call(
            RelayMethod.BATCH_SUBSCRIBE,
            BatchSubscribe(topics).to_params(),
            singles=[
                (row, RelayMethod.SUBSCRIBE, Subscribe(row.topic).to_params())
                for row in rows
            ],
        )
        await self._confirm(done)
        confirmed = {row.topic for row in done}
        # Confirmed on an earlier connection, refused on this one: to be sent again.
        stale = [
            row.topic
            for row in rows
            if row.topic not in confirmed and row.confirmed_at is not None
        ]
        if stale:
            await self._database.execute(
                _MARK_STALE, {"party": self._party.value, "topics": stale}
            )

    async def _unsubscribe(self, rows: Sequence[Row]) -> None:
        client_id = self._connection.client_id
        calls = [
            Unsubscribe(row.topic, subscription_id(row.topic, client_id))
            for row in rows
        ]
        done = await self._call(
            RelayMethod.BATCH_UNSUBSCRIBE,
            BatchUnsubscribe(tuple(calls)).to_params(),
            singles=[
                (row, RelayMethod.UNSUBSCRIBE, call.to_params())
                for row, call in zip(rows, calls, strict=True)
            ],
        )
        await self._confirm(done)

    async def _call(
        self, method: RelayMethod, params: JsonObject, *, singles: list[Single]
    ) -> list[Row]:
        """Call for all rows at once, or one by one if the relay has no batch method.

        Returns the rows that the relay accepted.
        """
        if self._in_batches:
            try:
                await self._connection.request(method.wire, params)
            except RelayRefused as refusal:
                if not refusal.is_unknown_method:
                    logger.warning("relay refused %s: %.100r", method, refusal.message)
                    return []
                self._in_batches = False
            else:
                return [row for row, _, _ in singles]
        done: list[Row] = []
        for start in range(0, len(singles), WINDOW):
            window = singles[start : start + WINDOW]
            answers = await all_of(self._call_one(each) for each in window)
            done += [row for row in answers if row is not None]
        return done

    async def _call_one(self, single: Single) -> Row | None:
        row, method, params = single
        try:
            await self._connection.request(method.wire, params)
        except RelayRefused as refusal:
            logger.warning("relay refused %s: %.100r", method, refusal.message)
            return None
        return row

    async def _confirm(self, rows: Sequence[Row]) -> None:
        fresh = [row for row in rows if row.confirmed_at is None]
        if not fresh:
            return
        steps = {each["context"].get("step") for row in fresh for each in row.callbacks}
        failpoint("gateway.topics.before_confirm", steps)
        now = clock.now()
        waiting = [
            (each["callback"], Confirmed(row.topic, each["context"], now))
            for row in fresh
            for each in row.callbacks
        ]
        # Before the mark: a callback that runs twice does no harm, one that never runs
        # is lost.
        if waiting:
            await self._django.run(call_all, waiting)
        await self._database.execute(
            _CONFIRM,
            {
                "party": self._party.value,
                "now": now,
                "topics": [row.topic for row in fresh],
                "changed": [row.changed_at for row in fresh],
            },
        )
        failpoint("gateway.topics.after_confirm", steps)
