"""Memory of the embedded relay per connection and topic, and what it gives back."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import psutil
import uvloop

from bench.environment import free_port, running, services
from bench.relay import Client, connect

if TYPE_CHECKING:
    from bench.report import Report

IDLE_CONNECTIONS: Final = 900
# ``--topics`` in all, on connections of so many.
TOPICS: Final = 200_000
TOPICS_OF_CONNECTION: Final = 5_000
BATCH: Final = 500
# Closed connections are cleaned up, and freed memory returned, within this.
SETTLE_S: Final = 8.0


def run(report: Report, seconds: float) -> None:
    port = free_port()
    with (
        services(
            NOTIFYWEB_LIMITS="relay_topics=100000000,relay_frames=100000000+100000000/s"
        ),
        running("manage.py", "relay", "--port", str(port), port=port) as relay,
    ):
        uvloop.run(_run(report, port, psutil.Process(relay.process.pid)))


async def _run(report: Report, port: int, relay: psutil.Process) -> None:
    # Fill pools and caches first.
    await _subscribe(await connect(port), BATCH)
    await asyncio.sleep(SETTLE_S)
    before = relay.memory_info().rss
    idle = [await connect(port) for _ in range(IDLE_CONNECTIONS)]
    await asyncio.sleep(1)
    each = (relay.memory_info().rss - before) / IDLE_CONNECTIONS
    report.add("per connection, without topics", f"{each / 1024:,.1f} KiB")
    for client in idle:
        client.wire.close()
    await asyncio.sleep(SETTLE_S)
    before = relay.memory_info().rss
    count = int(os.environ.get("BENCH_TOPICS", TOPICS))
    for name in ("first", "again"):
        clients = [
            await connect(port) for _ in range(max(1, count // TOPICS_OF_CONNECTION))
        ]
        await asyncio.sleep(1)
        connected = relay.memory_info().rss
        for client in clients:
            await _subscribe(client, count // len(clients))
        await asyncio.sleep(SETTLE_S)
        full = relay.memory_info().rss
        for client in clients:
            client.wire.close()
        await asyncio.sleep(SETTLE_S)
        after = relay.memory_info().rss
        report.add(f"{name}: per topic", f"{(full - connected) / count:,.0f} bytes")
        report.add(f"{name}: {count:,} topics", f"{(full - before) / 2**20:,.0f} MiB")
        report.add(f"{name}: kept", f"{(after - before) / 2**20:,.0f} MiB")


async def _subscribe(client: Client, count: int) -> None:
    for _ in range(0, count, BATCH):
        topics = [os.urandom(32).hex() for _ in range(BATCH)]
        await client.call("irn_batchSubscribe", topics=topics)
