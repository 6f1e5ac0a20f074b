"""A process that runs but does no work is killed; its keeper starts it again.

Workers: beat starts a canary task for each kind of worker every fifteen seconds. As long
as beat shows signs of life and the worker none, tasks are lost on a dead connection or a
stuck process.

Web: ``/livez`` must answer, and not with a failure. A database that is away is none.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import redis

from common import heartbeat
from notifyweb.launcher import probe

if TYPE_CHECKING:
    from notifyweb.launcher.console import Console
    from notifyweb.launcher.supervisor import Supervisor

LOOK_EVERY_S = 5.0
SILENT_S = 90.0
UNHEALTHY_S = 60.0


def is_silent(worker_age: float | None, beat_age: float | None) -> bool:
    if beat_age is None or beat_age > SILENT_S:
        return False
    return worker_age is None or worker_age > SILENT_S


async def watch_worker(worker: Supervisor, console: Console) -> None:
    """``worker`` is named as its sign of life is."""
    name = worker.program.name
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        if worker.age_s < SILENT_S:
            continue
        try:
            ages = await asyncio.to_thread(heartbeat.ages, [name, "beat"])
        except redis.RedisError:
            continue
        if is_silent(ages[name], ages["beat"]):
            console.line(name, f"silent for {SILENT_S:.0f} s; ended")
            worker.signal(signal.SIGKILL)


async def watch_web(
    web: Supervisor,
    console: Console,
    *,
    host: str,
    port: int,
    patience: float = UNHEALTHY_S,
) -> None:
    """Kill the web process once it failed its own health for ``patience`` seconds."""
    clock = asyncio.get_running_loop().time
    failing: tuple[int, float] | None = None
    while True:
        await asyncio.sleep(min(LOOK_EVERY_S, patience / 2))
        pid = web.pid
        fault = await probe.web_fault(host, port)
        if pid is None or not fault:
            failing = None
        elif failing is None or failing[0] != pid:
            # A process that was started meanwhile has its own time.
            failing = (pid, clock())
        elif web.pid == pid and clock() - failing[1] >= patience:
            console.line("web", f"{fault} for {patience:.0f} s; killed")
            web.signal(signal.SIGKILL)
            failing = None
