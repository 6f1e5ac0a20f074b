"""A worker that lives but does nothing is ended; its keeper starts it again.

Beat starts the canary task every fifteen seconds. As long as beat shows signs of life
and the worker none, tasks are lost on a dead connection or a stuck process.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import redis

from groundwork import heartbeat

if TYPE_CHECKING:
    from notifyweb.launcher.console import Console
    from notifyweb.launcher.keeper import Keeper

LOOK_EVERY_S = 5.0
SILENT_S = 90.0


def is_silent(worker_age: float | None, beat_age: float | None) -> bool:
    if beat_age is None or beat_age > SILENT_S:
        return False
    return worker_age is None or worker_age > SILENT_S


async def watch_worker(worker: Keeper, console: Console) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        if worker.age_s < SILENT_S:
            continue
        try:
            ages = await asyncio.to_thread(heartbeat.ages, ["worker", "beat"])
        except redis.RedisError:
            continue
        if is_silent(ages["worker"], ages["beat"]):
            console.line("worker", f"silent for {SILENT_S:.0f} s; ended")
            worker.signal(signal.SIGKILL)
