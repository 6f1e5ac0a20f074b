"""Two relay nodes against one, on one PostgreSQL and one Redis, with the same clients.

With two nodes, half of the clients are connected to each, so every second message crosses
from node to node. The clients take CPU time of the same machine: how many messages a second
two nodes could pass on, each with a core of its own, follows from the CPU time that the
busier node took for a message.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvloop

from bench.environment import free_port, running, services
from bench.relay import NO_LIMITS, PUBLISHERS, SUBSCRIBERS, Flight, connect
from bench.report import median, micro, per_second

if TYPE_CHECKING:
    from bench.environment import Measured, Services
    from bench.report import Report

SIZE = 500
ROUNDS = 3
GOAL = 1.6


@dataclass(frozen=True, slots=True)
class Round:
    """CPU seconds for a message, of each node and of PostgreSQL."""

    nodes: tuple[float, ...]
    postgres: float
    rate: float


def run(report: Report, seconds: float) -> None:
    ports = [free_port(), free_port()]
    with (
        services(NOTIFYWEB_LIMITS=NO_LIMITS) as surroundings,
        running("manage.py", "relay", "--port", str(ports[0]), port=ports[0]) as first,
        running("manage.py", "relay", "--port", str(ports[1]), port=ports[1]) as second,
    ):
        nodes = [first, second]
        uvloop.run(_measure(report, seconds, surroundings, nodes=nodes, ports=ports))


async def _measure(
    report: Report,
    seconds: float,
    surroundings: Services,
    *,
    nodes: list[Measured],
    ports: list[int],
) -> None:
    of_one: list[Round] = []
    of_two: list[Round] = []
    of_full: list[Round] = []
    for _ in range(ROUNDS):
        for ports_used, times, rounds in (
            (ports[:1], 1, of_one),
            (ports, 1, of_two),
            (ports, 2, of_full),
        ):
            found = await _round(
                surroundings,
                nodes,
                ports_used,
                seconds=seconds / (3 * ROUNDS),
                times=times,
            )
            rounds.append(found)
    one = median([max(each.nodes) for each in of_one])
    two = median([max(each.nodes) for each in of_two])
    full = median([max(each.nodes) for each in of_full])
    report.add(
        "one node",
        per_second(1 / one),
        cpu=f"{micro(one)} + {micro(median([r.postgres for r in of_one]))} PostgreSQL",
    )
    both = median([sum(each.nodes) for each in of_two])
    report.add(
        "two nodes",
        per_second(1 / two),
        ratio=f"{one / two:.2f}",
        cpu=f"{micro(both)} both + {micro(median([r.postgres for r in of_two]))}"
        " PostgreSQL",
    )
    report.add(
        "two nodes, twice the clients", per_second(1 / full), ratio=f"{one / full:.2f}"
    )
    report.note(
        "Messages a second if each node has a core; measured on this machine, with the "
        f"clients beside them: {per_second(median([r.rate for r in of_one]))} and "
        f"{per_second(median([r.rate for r in of_two]))}."
    )
    report.compare(
        "two relay nodes: rate at which the busier one fills a core",
        one / two,
        f"{GOAL} times one node",
        goal=f">= {GOAL}",
    )
    report.compare(
        "the same, each node with as many clients as the one had",
        one / full,
        f"{GOAL} times one node",
        goal=f">= {GOAL}",
    )


async def _round(
    surroundings: Services,
    nodes: list[Measured],
    ports: list[int],
    *,
    seconds: float,
    times: int = 1,
) -> Round:
    """Clients alternate between the nodes, and publishers between the topics.

    ``times`` as many clients as usual.
    """
    subscribers = [
        await connect(port)
        for _, port in zip(
            range(SUBSCRIBERS * times), itertools.cycle(ports), strict=False
        )
    ]
    publishers = [
        await connect(port)
        for _, port in zip(
            range(PUBLISHERS * times), itertools.cycle(ports), strict=False
        )
    ]
    topics = [os.urandom(32).hex() for _ in subscribers]
    for client, topic in zip(subscribers, topics, strict=True):
        await client.call("irn_subscribe", topic=topic)
    await asyncio.sleep(0.3)
    texts = itertools.count(time.time_ns())
    flight = Flight(publishers, topics, lambda topic: _frame(topic, texts), seconds)
    for client in subscribers:
        client.delivered = flight.delivered
    before = [node.cpu() for node in nodes]
    store, begin = surroundings.postgres_cpu(), time.monotonic()
    await flight.run()
    elapsed = time.monotonic() - begin
    found = Round(
        tuple(
            (node.cpu() - cpu) / flight.sent
            for node, cpu in zip(nodes, before, strict=True)
        ),
        (surroundings.postgres_cpu() - store) / flight.sent,
        flight.sent / elapsed,
    )
    for client in (*subscribers, *publishers):
        client.wire.close()
    return found


def _frame(topic: str, texts: itertools.count[int]) -> bytes:
    number = next(texts)
    return (
        f'{{"id":{number},"jsonrpc":"2.0","method":"irn_publish","params":'
        f'{{"topic":"{topic}","message":"{number:0{SIZE}d}","ttl":300,'
        '"tag":4002,"prompt":true}}'
    ).encode()
