"""One party of the gateway: shares its lanes with other gateways, and runs its own.

Once a second each gateway compares the lanes of the party with the gateways that run
(``membership``). It claims free lanes up to its share, gives up those beyond it, splits
one if there are fewer lanes than gateways, and splits one that has too many topics. A
lane is changed only by the gateway that holds its lock.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NoReturn

from common import clock
from messaging.gateway.due_rows import DueRows
from messaging.gateway.keys import client_key, lane_identity, merge_lanes, split_lane
from messaging.gateway.lane import SESSION_ERRORS, BackOff, Lane, PartyContext
from messaging.gateway.membership import POLL_S
from messaging.gateway.running import cancel, first_to_end
from messaging.gateway.topics import COUNT
from messaging.gateway.wakes import WakeEvent
from messaging.outbox import topics_channel
from messaging.shards import ShardRange

if TYPE_CHECKING:
    from messaging.gateway.lane import GatewayContext
    from messaging.gateway.membership import Membership
    from messaging.models import Party

logger = logging.getLogger(__name__)

SCAN_S: Final = 2.0
HEARTBEAT_S: Final = 5.0
# A lane that is stopped finishes its requests within this time.
DRAIN_S: Final = 8.0
# Counting the topics of lanes reads all of them, and a spare lane costs one connection.
MERGE_CHECK_S: Final = 60.0

_SEEN = """
UPDATE messaging_partyclient AS client
SET last_seen_at = %(now)s, connected_since = lane.since
FROM unnest(%(lanes)s::int[], %(since)s::timestamptz[]) AS lane (number, since)
WHERE party = %(party)s AND client.lane = lane.number
"""

_OVERDUE = """
SELECT 1 FROM messaging_inboxmessage AS due
WHERE party = %(party)s AND state = 'due' AND leased_until IS NULL
    AND next_attempt_at <= %(now)s
    AND NOT EXISTS (
        SELECT 1 FROM messaging_inboxclaim AS claim WHERE due.id = ANY(claim.messages)
    )
LIMIT 1
"""

# Lanes that have topics to subscribe or unsubscribe.
_FIND_PENDING = """
SELECT number FROM unnest(%(lanes)s::int[], %(firsts)s::text[], %(ends)s::text[])
    AS lane (number, first_topic, end_topic)
WHERE EXISTS (
    SELECT 1 FROM messaging_topicsubscription
    WHERE party = %(party)s AND confirmed_at IS NULL
        AND topic >= lane.first_topic AND topic < lane.end_topic
)
"""

_LANES = """
SELECT lane, first_shard, last_shard FROM messaging_partyclient WHERE party = %(party)s
ORDER BY first_shard
"""


class PartyGateway:
    """Runs the lanes of one party until it is stopped."""

    def __init__(self, party: Party, context: GatewayContext) -> None:
        self.party = party
        self._context = context
        self._due_rows = DueRows(party, context.database, context.wakes)
        self._lanes: dict[int, Lane] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._topics = context.wakes.event(topics_channel(party))
        # For the heartbeat, and for the loop that shares lanes.
        self._seen, self._changed = WakeEvent(), WakeEvent()
        self._merge_check_at = clock.monotonic() + MERGE_CHECK_S

    @property
    def is_connected(self) -> bool:
        return any(lane.connected_since is not None for lane in self._lanes.values())

    def stop(self) -> None:
        """Called when the gateway stops."""
        for lane in self._lanes.values():
            lane.stop()
        self._changed.set()

    async def run(self) -> None:
        back_off = BackOff(0.5, 10.0)
        while not self._context.stopping.is_set():
            try:
                async with self._context.database.membership(self.party) as member:
                    back_off.reset()
                    await self._context.django.run(client_key, self.party)
                    try:
                        await first_to_end(
                            self._keep_alive(member),
                            self._find_overdue(),
                            self._find_pending_topics(),
                            self._due_rows.run(),
                            self._share_lanes(member),
                        )
                    finally:
                        await cancel(self._running.values())
                        self._running.clear()
                        self._lanes.clear()
            except SESSION_ERRORS as error:
                logger.warning(
                    "%s lost its locks: %s", self.party.value, type(error).__name__
                )
                await back_off.wait()

    async def _keep_alive(self, member: Membership) -> NoReturn:
        """Write the heartbeat on the locks' connection; fails when they are lost."""
        while True:
            self._seen.clear()
            await member.execute(
                _SEEN,
                {
                    "party": self.party.value,
                    "now": clock.now(),
                    "lanes": list(self._lanes),
                    "since": [lane.connected_since for lane in self._lanes.values()],
                },
            )
            await self._seen.wait(HEARTBEAT_S)

    async def _find_overdue(self) -> NoReturn:
        """Start workers on rows whose wake-up was lost or whose next attempt is due."""
        while True:
            await asyncio.sleep(SCAN_S)
            parameters = {"party": self.party.value, "now": clock.now()}
            if await self._context.database.fetch(_OVERDUE, parameters):
                self._context.starter.start()

    async def _find_pending_topics(self) -> NoReturn:
        """Wake the lanes whose topics changed, by one query for all of them."""
        while True:
            await self._topics.wait(SCAN_S)
            self._topics.clear()
            lanes = list(self._lanes.values())
            found = await self._context.database.fetch(
                _FIND_PENDING,
                {
                    "party": self.party.value,
                    "lanes": [lane.number for lane in lanes],
                    "firsts": [lane.shards.first_topic for lane in lanes],
                    "ends": [lane.shards.end_topic for lane in lanes],
                },
            )
            for (number,) in found:
                if number in self._lanes:
                    self._lanes[number].settle_topics()

    def _lane_changed(self) -> None:
        self._seen.set()
        self._changed.set()

    # --- lanes ------------------------------------------------------------------------

    async def _share_lanes(self, member: Membership) -> None:
        """Hold this gateway's share of the lanes until it stops."""
        while not self._context.stopping.is_set():
            self._changed.clear()
            for number, task in list(self._running.items()):
                if task.done():
                    # A lane that was not stopped ends only with an exception.
                    task.result()
                    await self._stop_lane(number, member)
            await self._rebalance(member)
            await self._changed.wait(POLL_S)
        self.stop()
        if self._running:
            await asyncio.wait(self._running.values())

    async def _rebalance(self, member: Membership) -> None:
        for lane in list(self._lanes.values()):
            if lane.has_too_many_topics:
                await self._split(lane.number, member)
        rows = await self._context.database.fetch(_LANES, {"party": self.party.value})
        shards = {number: ShardRange(first, last) for number, first, last in rows}
        sharing = await member.sharing()
        share = -(-len(shards) // sharing.members)
        for number in sorted(self._lanes, reverse=True)[:-share]:
            logger.info("%s %d goes to another gateway", self.party.value, number)
            await self._stop_lane(number, member)
        for number in sorted(shards.keys() - sharing.held):
            if len(self._lanes) < share:
                await self._start_lane(number, member)
        widest = max(shards, key=lambda number: (len(shards[number]), -number))
        if len(shards) < sharing.members and widest in self._lanes:
            await self._split(widest, member)
        elif len(shards) > sharing.members:
            await self._merge_small_lanes(list(shards), member)

    @property
    def _max_topics(self) -> int:
        return self._context.topics_per_lane

    async def _count_topics(self, shards: ShardRange) -> int:
        parameters = {
            "party": self.party.value,
            "first": shards.first_topic,
            "end": shards.end_topic,
        }
        [(count,)] = await self._context.database.fetch(COUNT, parameters)
        return int(count)

    async def _start_lane(self, number: int, member: Membership) -> None:
        if not await member.claim(number):
            return
        # Read after the lock was taken: from now on only this gateway changes it.
        identity = await self._context.django.run(lane_identity, self.party, number)
        while (
            identity is not None
            and len(identity.shards) > 1
            and await self._count_topics(identity.shards) > self._max_topics
        ):
            await self._context.django.run(split_lane, self.party, number)
            # There is a new lane to be claimed.
            self._changed.set()
            identity = await self._context.django.run(lane_identity, self.party, number)
        if identity is None:
            await member.release(number)
            return
        of = PartyContext(self.party, self._due_rows, self._lane_changed)
        lane = Lane(identity, of=of, context=self._context)
        self._lanes[number] = lane
        task = asyncio.create_task(lane.stay_connected())
        task.add_done_callback(lambda _: self._changed.set())
        self._running[number] = task

    async def _stop_lane(self, number: int, member: Membership) -> None:
        await self._end_lane(number)
        await member.release(number)

    async def _end_lane(self, number: int) -> None:
        lane, task = self._lanes[number], self._running[number]
        lane.stop()
        if lane.connected_since is not None:
            await asyncio.wait([task], timeout=DRAIN_S)
        await cancel([task])
        del self._lanes[number], self._running[number]

    async def _split(self, number: int, member: Membership) -> None:
        """Halve the shards of a lane; a gateway with room claims the new lane.

        Messages that arrive meanwhile wait in the relay's mailbox, and the inbox drops
        those that arrived already, so nothing is lost or handled twice.
        """
        await self._end_lane(number)
        fresh = await self._context.django.run(split_lane, self.party, number)
        logger.info(
            "%s %d gave half of its shards to lane %d", self.party.value, number, fresh
        )
        await member.release(number)
        await self._start_lane(number, member)
        self._changed.set()

    async def _merge_small_lanes(self, lanes: list[int], member: Membership) -> None:
        """Merge neighbours of ours with few topics; ``lanes`` are in order of shards.

        With at most half of the topics that one client may have, so that a few topics
        more or less do not split and merge a lane in turns.
        """
        now = clock.monotonic()
        if now < self._merge_check_at:
            return
        self._merge_check_at = now + MERGE_CHECK_S
        for low, high in pairwise(lanes):
            if low not in self._lanes or high not in self._lanes:
                continue
            first, last = self._lanes[low].shards, self._lanes[high].shards
            count = await self._count_topics(ShardRange(first.first, last.last))
            if count > self._max_topics // 2:
                continue
            kept, removed = sorted((low, high))
            logger.info("%s %d joins lane %d", self.party.value, removed, kept)
            await self._end_lane(kept)
            await self._end_lane(removed)
            await self._context.django.run(merge_lanes, self.party, kept, removed)
            await member.release(removed)
            await member.release(kept)
            await self._start_lane(kept, member)
            # The list is no longer true; the next pair is merged at the next check.
            return
