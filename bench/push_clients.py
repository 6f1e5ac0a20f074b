"""Browser sockets for ``bench.push``: ``python -m bench.push_clients``, lines of JSON in and out.

The first line names the sockets. Each further line names a mark and how many frames shall
have it; it is answered with what follows the mark in each, and when it arrived.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from contextlib import suppress
from typing import Any

import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

# Handshakes at once; more would only wait in the server.
CONNECTING = 20
PATIENCE_S = 120.0
# As ``ACK_MS`` of static/js/live.js.
ACK_AFTER_S = 5.0
HEAD = re.compile(r'^{"type":"events".*?"head":(\d+)')


class Clients:
    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.mark = re.compile("$^")
        self.arrivals: list[tuple[str, float]] = []
        self.wanted = 0
        self.complete = asyncio.Event()
        self.readers: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        places = asyncio.Semaphore(CONNECTING)

        async def open_one(one: dict[str, Any]) -> None:
            async with places:
                socket = await connect(
                    one["url"],
                    origin=self.plan["origin"],
                    additional_headers=one["headers"],
                    compression=None,
                    ping_interval=None,
                    max_size=None,
                    open_timeout=PATIENCE_S,
                )
                if one["resume"] is not None:
                    await socket.send(json.dumps(one["resume"]))
                    await socket.recv()
            self.readers.append(asyncio.create_task(self._read(socket)))

        async with asyncio.TaskGroup() as tasks:
            for one in self.plan["sockets"]:
                tasks.create_task(open_one(one))

    async def _read(self, socket: ClientConnection) -> None:
        head = 0
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None
        acks: list[asyncio.Task[None]] = []

        async def acknowledge() -> None:
            with suppress(ConnectionClosed):
                await socket.send(f'{{"type":"ack","sequence":{head}}}')

        def fire() -> None:
            nonlocal timer
            timer = None
            acks[:] = [asyncio.create_task(acknowledge())]

        async for message in socket:
            text, now = str(message), time.monotonic()
            self.arrivals += [(each, now) for each in self.mark.findall(text)]
            if len(self.arrivals) >= self.wanted:
                self.complete.set()
            found = HEAD.match(text)
            if found:
                head = int(found[1])
                if timer is None:
                    timer = loop.call_later(ACK_AFTER_S, fire)

    async def receive(self, mark: str, wanted: int) -> list[tuple[str, float]]:
        self.mark = re.compile(re.escape(mark) + r"(\d+)@")
        self.arrivals, self.wanted = [], wanted
        self.complete = asyncio.Event()
        print("waiting", flush=True)
        await asyncio.wait_for(self.complete.wait(), PATIENCE_S)
        if broken := [each for each in self.readers if each.done()]:
            raise SystemExit(f"{len(broken)} sockets were closed")
        return self.arrivals


async def main() -> None:
    loop = asyncio.get_running_loop()
    clients = Clients(json.loads(await loop.run_in_executor(None, sys.stdin.readline)))
    await clients.open()
    print("open", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await clients.receive(*json.loads(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
