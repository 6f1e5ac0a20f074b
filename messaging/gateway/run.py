"""The gateway process: all parties, their shared surroundings, and a clean end."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Final

import uvloop
from django.conf import settings

from common.heartbeat import beat
from messaging.gateway.connection import RelayAddress
from messaging.gateway.database import Database, DjangoThread
from messaging.gateway.inbox import TaskStarter
from messaging.gateway.lane import GatewayContext
from messaging.gateway.party import HEARTBEAT_S, PartyGateway
from messaging.gateway.running import cancel
from messaging.gateway.wakes import WakeListener
from messaging.outbox import outbox_channel, topics_channel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from messaging.models import Party

logger = logging.getLogger(__name__)

HEARTBEAT_NAME: Final = "gateway"
# The embedded relay takes any project; a foreign one needs PROJECT_ID.
PROJECT_NAME: Final = "notifyweb"
DRAIN_S: Final = 8.0
# Room for the JSON context the largest message that a relay of ours would take.
FRAME_ALLOWANCE: Final = 2


class Gateway:
    """Speaks for ``parties`` at the relay of the settings."""

    def __init__(self, parties: Sequence[Party]) -> None:
        self._stopping = asyncio.Event()
        self._database = Database(settings.DATABASES["default"])
        self._django = DjangoThread()
        channels = [
            f(party) for party in parties for f in (outbox_channel, topics_channel)
        ]
        self._wakes = WakeListener(settings.REDIS_URL, channels)
        context = GatewayContext(
            address=RelayAddress(
                settings.RELAY_URL, settings.PROJECT_ID or PROJECT_NAME
            ),
            largest_frame=FRAME_ALLOWANCE * settings.LIMITS.relay_frame_bytes,
            topics_per_lane=settings.LIMITS.relay_topics_per_client * 9 // 10,
            database=self._database,
            django=self._django,
            starter=TaskStarter(self._django),
            wakes=self._wakes,
            stopping=self._stopping,
        )
        self._starter = context.starter
        self._parties = [PartyGateway(party, context) for party in parties]

    def stop(self) -> None:
        """Finish what is under way and end."""
        self._stopping.set()
        for party in self._parties:
            party.wake()

    async def run(self) -> None:
        """Work until ``stop`` is called."""
        await self._database.open()
        speaking = {
            party: asyncio.create_task(party.run(), name=party.party.value)
            for party in self._parties
        }
        background = [
            asyncio.create_task(self._wakes.run(), name="wakes"),
            asyncio.create_task(self._starter.run(), name="starter"),
            asyncio.create_task(self._beat(), name="heartbeat"),
        ]
        try:
            await self._until_stopped([*speaking.values(), *background])
            await self._drain(speaking)
        finally:
            await cancel([*speaking.values(), *background])
            await self._database.close()
            self._django.close()

    async def _until_stopped(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Nothing here ends by itself: if something does, the process ends with it."""
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait(
                [stopped, *tasks], return_when=asyncio.FIRST_COMPLETED
            )
            for task in done - {stopped}:
                task.result()
        finally:
            stopped.cancel()

    async def _drain(self, speaking: dict[PartyGateway, asyncio.Task[None]]) -> None:
        ending = [task for party, task in speaking.items() if party.is_connected]
        if ending:
            await asyncio.wait(ending, timeout=DRAIN_S)

    async def _beat(self) -> None:
        while True:
            await self._django.run(beat, HEARTBEAT_NAME)
            await asyncio.sleep(HEARTBEAT_S)


async def _run(parties: Sequence[Party]) -> None:
    gateway = Gateway(parties)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, gateway.stop)
    logger.info("gateway started for %s", ", ".join(party.value for party in parties))
    await gateway.run()
    logger.info("gateway stopped")


def run(parties: Sequence[Party]) -> None:
    """Run the gateway until SIGTERM or Ctrl-C."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(parties))
