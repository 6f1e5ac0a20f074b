"""Kills processes that run but do no work; their supervisors restart them.

Workers: beat enqueues a canary task for each kind of worker every fifteen seconds. When
beat has heartbeats and the worker has none, the worker is stuck or its connection is dead.

Web: ``/livez`` must answer 200, as it also does while the database is unavailable.
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

POLL_S = 5.0
# Three canaries. With the poll and the start of another worker it stays below the minute in
# which everything is to go on by itself.
SILENT_S = 45.0
# Until a process first works: a busy machine may take long to start it.
START_S = 90.0
# After Redis was away or emptied: the next canary, and time to run it.
FIRST_CANARY_S = 20.0
UNHEALTHY_S = 60.0


def is_silent(worker_age: float | None, beat_age: float | None) -> bool:
    if beat_age is None or beat_age > SILENT_S:
        return False
    return worker_age is None or worker_age > SILENT_S


async def watch_worker(worker: Supervisor, console: Console) -> None:
    """Kill ``worker``, whose heartbeat has its name, when it has been silent."""
    name = worker.program.name
    clock = asyncio.get_running_loop().time
    # Since when beat has been seen without a gap, so that there were canaries to run.
    since: float | None = None
    while True:
        await asyncio.sleep(POLL_S)
        try:
            ages = await asyncio.to_thread(heartbeat.ages, [name, "beat"])
        except redis.RedisError:
            since = None
            continue
        if ages["beat"] is None:
            since = None
            continue
        since = clock() if since is None else since
        age, up_s = ages[name], worker.age_s
        has_run = age is not None and age < up_s
        if (
            up_s < (SILENT_S if has_run else START_S)
            or clock() - since < FIRST_CANARY_S
        ):
            continue
        if is_silent(age, ages["beat"]):
            console.line(name, f"silent for {SILENT_S:.0f} s; ended")
            worker.signal(signal.SIGKILL)


async def watch_web(
    web: Supervisor,
    console: Console,
    *,
    host: str,
    port: int,
    max_unhealthy_s: float = UNHEALTHY_S,
) -> None:
    """Kill the web process after ``max_unhealthy_s`` of failed ``/livez`` requests.

    After ``START_S`` if it has not answered yet.
    """
    clock = asyncio.get_running_loop().time
    failing: tuple[int, float] | None = None
    answered: int | None = None
    while True:
        await asyncio.sleep(min(POLL_S, max_unhealthy_s / 2))
        pid = web.pid
        fault = await probe.web_fault(host, port)
        if pid is None or not fault:
            answered, failing = pid, None
        elif failing is None or failing[0] != pid:
            # A restarted process gets the full time again.
            failing = (pid, clock())
        else:
            is_starting = fault == probe.NO_ANSWER and answered != pid
            limit_s = START_S if is_starting else max_unhealthy_s
            if web.pid == pid and clock() - failing[1] >= limit_s:
                console.line("web", f"{fault} for {limit_s:.0f} s; killed")
                web.signal(signal.SIGKILL)
                failing = None
