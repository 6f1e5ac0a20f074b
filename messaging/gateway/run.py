"""The gateway process: starts all parties and stops them on SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import Counter
from typing import TYPE_CHECKING, Final

from django.conf import settings

from common import histograms
from common.heartbeat import beat
from messaging.gateway.connection import RelayAddress
from messaging.gateway.database import Database, DjangoThread
from messaging.gateway.inbox import TaskStarter
from messaging.gateway.lane import GatewayContext
from messaging.gateway.party import DRAIN_S, HEARTBEAT_S, PartyGateway
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
# Each reads its topics in batches, so that a start takes bounded memory and leaves the
# relay time for others. All lanes connect and publish at once.
MAX_STARTING_LANES: Final = 4
# Frames of a relay may be larger than those it accepts: a delivery adds to the message.
FRAME_ALLOWANCE: Final = 2


class Gateway:
    """Connects ``parties`` to the relay of the settings."""

    def __init__(self, parties: Sequence[Party]) -> None:
        self._stopping = asyncio.Event()
        self._database = Database(settings.DATABASES["default"])
        self._django = DjangoThread()
        self._durations: Counter[str] = Counter()
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
            durations=self._durations,
            stopping=self._stopping,
            starting=asyncio.Semaphore(MAX_STARTING_LANES),
        )
        self._starter = context.starter
        self._parties = [PartyGateway(party, context) for party in parties]

    def stop(self) -> None:
        """Finish the current work and end ``run``."""
        self._stopping.set()
        for party in self._parties:
            party.stop()

    async def run(self) -> None:
        """Run until ``stop`` is called."""
        await self._database.open()
        running = {
            party: asyncio.create_task(party.run(), name=party.party.value)
            for party in self._parties
        }
        background = [
            asyncio.create_task(self._wakes.run(), name="wakes"),
            asyncio.create_task(self._starter.run(), name="starter"),
            asyncio.create_task(self._beat(), name="heartbeat"),
        ]
        try:
            # None of these ends by itself: if one does, its exception ends the process.
            stopped = asyncio.create_task(self._stopping.wait())
            done, _ = await asyncio.wait(
                [stopped, *running.values(), *background],
                return_when=asyncio.FIRST_COMPLETED,
            )
            stopped.cancel()
            for task in done - {stopped}:
                task.result()
            ending = [task for party, task in running.items() if party.is_connected]
            if ending:
                await asyncio.wait(ending, timeout=DRAIN_S)
        finally:
            await cancel([*running.values(), *background])
            await self._save_durations()
            await self._database.close()
            self._django.close()

    async def _beat(self) -> None:
        while True:
            await self._django.run(beat, HEARTBEAT_NAME)
            await self._save_durations()
            await asyncio.sleep(HEARTBEAT_S)

    async def _save_durations(self) -> None:
        # Emptied here, because publishers add to it in this thread.
        durations = self._durations.copy()
        self._durations.clear()
        await self._django.run(histograms.save, durations)


async def run_gateway(parties: Sequence[Party]) -> None:
    """Run until SIGTERM or Ctrl-C."""
    gateway = Gateway(parties)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, gateway.stop)
    logger.info("gateway started for %s", ", ".join(party.value for party in parties))
    await gateway.run()
    logger.info("gateway stopped")
