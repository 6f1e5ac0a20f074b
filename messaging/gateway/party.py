"""One party of the gateway: holds its lock, assigns its topics to lanes, runs the lanes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NoReturn

from common import clock
from messaging.gateway.keys import add_client, client_keys, remove_client
from messaging.gateway.lane import SCAN_S, SESSION_ERRORS, BackOff, Lane, PartyContext
from messaging.gateway.running import cancel, first_to_end
from messaging.gateway.wakes import WakeEvent
from messaging.outbox import topics_channel

if TYPE_CHECKING:
    from messaging.gateway.database import PartyLock
    from messaging.gateway.lane import GatewayContext
    from messaging.models import Party
    from walletconnect.crypto.signing import IdentityKey

logger = logging.getLogger(__name__)

HEARTBEAT_S: Final = 5.0
# Checked once a minute: counting the topics per lane reads all of them, and a spare lane
# costs one connection only.
CLOSE_CHECK_S: Final = 60.0

_SEEN = """
UPDATE messaging_partyclient AS client
SET last_seen_at = %(now)s, connected_since = lane.since
FROM unnest(%(lanes)s::int[], %(since)s::timestamptz[]) AS lane (number, since)
WHERE party = %(party)s AND client.lane = lane.number
"""

_OVERDUE = """
SELECT 1 FROM messaging_inboxmessage
WHERE party = %(party)s AND state = 'due' AND leased_until IS NULL
    AND next_attempt_at <= %(now)s LIMIT 1
"""

_LANELESS = """
SELECT 1 FROM messaging_topicsubscription
WHERE party = %(party)s AND lane IS NULL LIMIT 1
"""

_TOPICS_OF_LANES = """
SELECT lane, count(*) FROM messaging_topicsubscription
WHERE party = %(party)s AND lane IS NOT NULL AND state = 'wanted'
GROUP BY lane
"""

_ASSIGN = """
UPDATE messaging_topicsubscription SET lane = %(lane)s
WHERE id IN (
    SELECT id FROM messaging_topicsubscription
    WHERE party = %(party)s AND lane IS NULL ORDER BY id LIMIT %(room)s
)
"""

# The topics of a lane that closes are subscribed by another lane.
_RELEASE = """
UPDATE messaging_topicsubscription
SET lane = NULL, confirmed_at = CASE WHEN state <> 'wanted' THEN confirmed_at END
WHERE party = %(party)s AND lane = %(lane)s
"""


class PartyGateway:
    """Runs the lanes of one party until it is stopped."""

    def __init__(self, party: Party, context: GatewayContext) -> None:
        self.party = party
        self._context = context
        self._lanes: dict[int, Lane] = {}
        self._topics = context.wakes.event(topics_channel(party))
        self._changed = WakeEvent()
        self._close_check_at = clock.monotonic() + CLOSE_CHECK_S

    @property
    def is_connected(self) -> bool:
        return any(lane.connected_since is not None for lane in self._lanes.values())

    def wake(self) -> None:
        """End the waits of all loops, because of new rows or a stop."""
        self._topics.set()
        for lane in self._lanes.values():
            lane.wake()

    async def run(self) -> None:
        back_off = BackOff(0.5, 10.0)
        while not self._context.stopping.is_set():
            try:
                async with self._context.database.party_lock(self.party) as lock:
                    back_off.reset()
                    keys = await self._context.django.run(client_keys, self.party)
                    for number, key in keys.items():
                        self._add_lane(number, key)
                    await first_to_end(
                        self._keep_lock(lock), self._find_overdue(), self._run_lanes()
                    )
            except SESSION_ERRORS as error:
                logger.warning(
                    "%s lost its lock: %s", self.party.value, type(error).__name__
                )
                await back_off.wait()

    async def _keep_lock(self, lock: PartyLock) -> NoReturn:
        """Write the heartbeat on the lock's connection; fails when the lock is lost."""
        while True:
            self._changed.clear()
            await lock.execute(
                _SEEN,
                {
                    "party": self.party.value,
                    "now": clock.now(),
                    "lanes": list(self._lanes),
                    "since": [lane.connected_since for lane in self._lanes.values()],
                },
            )
            await self._changed.wait(HEARTBEAT_S)

    async def _find_overdue(self) -> NoReturn:
        """Start workers on rows whose wake-up was lost or whose next attempt is due."""
        while True:
            await asyncio.sleep(SCAN_S)
            parameters = {"party": self.party.value, "now": clock.now()}
            if await self._context.database.fetch(_OVERDUE, parameters):
                self._context.starter.start()

    # --- lanes ------------------------------------------------------------------------

    def _add_lane(self, number: int, key: IdentityKey) -> None:
        if number not in self._lanes:
            of = PartyContext(self.party, lambda: len(self._lanes), self._changed.set)
            self._lanes[number] = Lane(number, key, of=of, context=self._context)

    async def _run_lanes(self) -> None:
        """Keep every lane connected and every topic in a lane until the gateway stops."""
        running: dict[int, asyncio.Task[None]] = {}
        try:
            while not self._context.stopping.is_set():
                self._topics.clear()
                await self._close_spare_lane(running)
                await self._assign_topics()
                for lane in self._lanes.values():
                    if lane.number not in running:
                        task = asyncio.create_task(lane.stay_connected())
                        running[lane.number] = task
                waiting = asyncio.create_task(self._topics.wait(SCAN_S))
                try:
                    # A lane ends before the gateway stops only with an exception.
                    done, _ = await asyncio.wait(
                        [waiting, *running.values()],
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    for ended in done:
                        ended.result()
                finally:
                    await cancel([waiting])
            await asyncio.gather(*running.values())
        finally:
            await cancel(running.values())

    async def _topics_of_lanes(self) -> dict[int, int]:
        counts = dict.fromkeys(self._lanes, 0)
        rows = await self._context.database.fetch(
            _TOPICS_OF_LANES, {"party": self.party.value}
        )
        return counts | dict(rows)

    async def _assign_topics(self) -> None:
        """Assign new topics to lanes with room; open a lane only when all are full.

        Topics may be inserted at any time, so topics that are left after a round do not
        mean that the lanes are full; the counts of the next round do.
        """
        database, party = self._context.database, self.party.value
        while await database.fetch(_LANELESS, {"party": party}):
            counts = await self._topics_of_lanes()
            room = {
                number: self._context.topics_per_lane - counts[number]
                for number in sorted(self._lanes)
                if counts[number] < self._context.topics_per_lane
            }
            for number, free in room.items():
                await database.execute(
                    _ASSIGN, {"party": party, "lane": number, "room": free}
                )
                self._lanes[number].wake()
            if not room:
                number = max(self._lanes) + 1
                logger.info("%s opens lane %d", party, number)
                key = await self._context.django.run(add_client, self.party, number)
                self._add_lane(number, key)

    async def _close_spare_lane(self, running: dict[int, asyncio.Task[None]]) -> None:
        """Close the last lane once its topics fill at most half of the others' room.

        Half, so that a few topics more or less do not open and close a lane in turns.
        The lane that takes over a topic receives its messages from the mailbox, and the
        inbox drops those that arrived already, so nothing is lost or handled twice.
        """
        number, now = max(self._lanes), clock.monotonic()
        if number == 0 or now < self._close_check_at:
            return
        self._close_check_at = now + CLOSE_CHECK_S
        counts = await self._topics_of_lanes()
        own = counts.pop(number)
        room = len(counts) * self._context.topics_per_lane - sum(counts.values())
        if own > room // 2:
            return
        logger.info("%s closes lane %d", self.party.value, number)
        if number in running:
            await cancel([running.pop(number)])
        del self._lanes[number]
        await self._context.database.execute(
            _RELEASE, {"party": self.party.value, "lane": number}
        )
        await self._context.django.run(remove_client, self.party, number)
