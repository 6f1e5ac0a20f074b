"""The embedded relay: throughput, latency, mailbox.

Compared, in the same rounds, with a bare WebSocket echo with the same library and a
bare Redis PUBLISH to one subscriber. A relayed message is four frames (publish, answer, delivery,
acknowledgement), written to PostgreSQL and committed in between; an echo is two.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson
import psycopg
import redis.asyncio
import uvloop

from bench.environment import Measured, Services, free_port, running, services
from bench.report import median, micro, milli, per_second, quantile
from bench.wire import Wire, open_wire
from relayserver.storage.store import connection_arguments

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.report import Report

SUBSCRIBERS = 50
PUBLISHERS = 4
WINDOW = 64
SIZES = {"0.5 KB": 500, "16 KB": 16_000}
ROUNDS = 3
LATENCY_RATE = 500
KEPT_MESSAGES = 10_000
KEPT_TOPICS = 20
BATCH = 500
PATIENCE_S = 30
COMMITS = 200
POLL_S = 0.001
# One load generator opens many connections.
NO_LIMITS = (
    "relay_frames=100000000+100000000/s,"
    "relay_queue_messages=100000000,relay_queue_bytes=100000000000"
)


def run(report: Report, seconds: float) -> None:
    relay_port, echo_port = free_port(), free_port()
    with (
        services(NOTIFYWEB_LIMITS=NO_LIMITS) as surroundings,
        running(
            "manage.py", "relay", "--port", str(relay_port), port=relay_port
        ) as relay,
        running("-m", "bench.echo", str(echo_port), port=echo_port) as echo,
    ):
        bench = RelayBench(surroundings, relay, echo, relay_port, echo_port)
        uvloop.run(bench.run(report, seconds))


@dataclass
class Client:
    """A relay client on one connection."""

    wire: Wire
    did: str
    ids: Any = field(default_factory=lambda: itertools.count(int(time.time() * 1e6)))
    answers: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    delivered: Callable[[bytes], None] | None = None
    answered: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self.wire.received = self._receive

    async def call(self, method: str, **params: Any) -> Any:
        request_id = next(self.ids)
        self.answers[request_id] = asyncio.get_running_loop().create_future()
        self.wire.send(
            orjson.dumps(
                {"id": request_id, "jsonrpc": "2.0", "method": method, "params": params}
            )
        )
        async with asyncio.timeout(PATIENCE_S):
            return await self.answers[request_id]

    def _receive(self, payload: bytes) -> None:
        if payload.find(b'"method"', 0, 60) > 0:
            delivery = payload[6 : payload.index(b",")]
            self.wire.send(b'{"id":%b,"jsonrpc":"2.0","result":true}' % delivery)
            if self.delivered is not None:
                self.delivered(payload)
        elif self.answered is not None:
            self.answered()
        else:
            answer = orjson.loads(payload)
            self.answers.pop(answer["id"]).set_result(answer["result"])


async def connect(port: int) -> Client:
    from walletconnect.crypto.signing import IdentityKey
    from walletconnect.relay.auth import make_client_auth

    key = IdentityKey.from_seed(os.urandom(32))
    token = make_client_auth(
        key, aud="ws://localhost", now=int(time.time()), nonce=os.urandom(32)
    )
    query = urlencode({"auth": token, "projectId": "bench"})
    return Client(await open_wire(port, f"/?{query}"), key.did)


@dataclass
class Load:
    """One run: messages, duration and CPU time of each process."""

    messages: int
    seconds: float
    cpu: float
    postgres_cpu: float = 0.0

    @property
    def rate(self) -> float:
        return self.messages / self.seconds


class RelayBench:
    def __init__(
        self,
        surroundings: Services,
        relay: Measured,
        echo: Measured,
        relay_port: int,
        echo_port: int,
    ) -> None:
        self._surroundings = surroundings
        self._relay = relay
        self._echo = echo
        self._relay_port = relay_port
        self._echo_port = echo_port
        self._texts = itertools.count()

        # CPU seconds of the relay for one message of 0.5 KB, delivered live.
        self._live = 0.0

    async def run(self, report: Report, seconds: float) -> None:
        for name, size in SIZES.items():
            each = seconds / 2 / len(SIZES) / ROUNDS / 3
            await self._throughput(report, name, size, each)
        await self._latency(report, min(3.0, seconds / 10))
        await self._mailbox(report)
        report.note("ratio: to the bare loopback of the same rounds")

    # Throughput

    async def _throughput(
        self, report: Report, name: str, size: int, seconds: float
    ) -> None:
        echoes, publishes, relayed = [], [], []
        for _ in range(ROUNDS):
            echoes.append(await self._echo_round(size, seconds))
            publishes.append(await self._redis_round(size, seconds))
            relayed.append(await self._relay_round(size, seconds))
        bare = median([load.rate for load in echoes])
        piped = median([load.rate for load in publishes])
        rate = median([load.rate for load in relayed])
        cpu = median([load.cpu / load.messages for load in relayed])
        store = median([load.postgres_cpu / load.messages for load in relayed])
        echo_cpu = median([load.cpu / load.messages for load in echoes])
        self._live = self._live or cpu
        report.compare(
            f"relay, {name}: CPU of the relay for a message, stored before the answer",
            cpu / (2 * echo_cpu),
            "an echo of the same four frames",
            goal="<= 1.6",
        )
        report.add(f"{name}: WebSocket echo", per_second(bare), cpu=micro(echo_cpu))
        report.add(f"{name}: Redis PUBLISH", per_second(piped))
        report.add(
            f"{name}: relay, {SUBSCRIBERS} subscribers",
            per_second(rate),
            ratio=f"{rate / bare:.2f} of echo, {rate / piped:.2f} of PUBLISH",
            cpu=f"{micro(cpu)} relay + {micro(store)} PostgreSQL",
        )

    async def _echo_round(self, size: int, seconds: float) -> Load:
        wires = [await open_wire(self._echo_port) for _ in range(PUBLISHERS)]
        payload = b"x" * size
        done = 0
        finish = asyncio.get_running_loop().create_future()
        give_up_at = time.monotonic() + seconds
        open_windows = PUBLISHERS * WINDOW

        def received(wire: Wire, _: bytes) -> None:
            nonlocal done, open_windows
            done += 1
            if time.monotonic() < give_up_at:
                wire.send(payload)
            else:
                open_windows -= 1
                if not open_windows:
                    finish.set_result(None)

        cpu, begin = self._echo.cpu(), time.monotonic()
        for wire in wires:
            wire.received = lambda text, wire=wire: received(wire, text)
            wire.send_all([payload] * WINDOW)
        await finish
        load = Load(done, time.monotonic() - begin, self._echo.cpu() - cpu)
        for wire in wires:
            wire.close()
        return load

    async def _redis_round(self, size: int, seconds: float) -> Load:
        url = f"unix://{self._surroundings.redis_socket}"
        client = redis.asyncio.Redis.from_url(url)
        payload = b"x" * size
        begin = time.monotonic()
        count = 0
        async with client.pubsub() as listener:
            await listener.subscribe("bench")
            heard: list[int] = []
            listening = asyncio.create_task(_hear(listener, heard))
            while time.monotonic() < begin + seconds:
                async with client.pipeline(transaction=False) as pipe:
                    for _ in range(WINDOW * PUBLISHERS):
                        pipe.publish("bench", payload)
                    await pipe.execute()
                count += WINDOW * PUBLISHERS
                least = count - 4 * WINDOW * PUBLISHERS
                await _until(lambda least=least: len(heard) > least)
            listening.cancel()
        await client.aclose()
        return Load(count, time.monotonic() - begin, 0.0)

    async def _relay_round(self, size: int, seconds: float) -> Load:
        subscribers = [await connect(self._relay_port) for _ in range(SUBSCRIBERS)]
        publishers = [await connect(self._relay_port) for _ in range(PUBLISHERS)]
        topics = [os.urandom(32).hex() for _ in subscribers]
        for client, topic in zip(subscribers, topics, strict=True):
            await client.call("irn_subscribe", topic=topic)
        await asyncio.sleep(0.3)
        flight = Flight(publishers, topics, self._frames(size), seconds)
        for client in subscribers:
            client.delivered = flight.delivered
        store, cpu = self._surroundings.postgres_cpu(), self._relay.cpu()
        begin = time.monotonic()
        await flight.run()
        load = Load(
            flight.sent,
            time.monotonic() - begin,
            self._relay.cpu() - cpu,
            self._surroundings.postgres_cpu() - store,
        )
        for client in (*subscribers, *publishers):
            client.wire.close()
        return load

    def _frames(self, size: int) -> Callable[[str], bytes]:
        filler = "A" * (size - 12)

        def frame(topic: str) -> bytes:
            number = next(self._texts)
            return (
                f'{{"id":{number},"jsonrpc":"2.0","method":"irn_publish","params":'
                f'{{"topic":"{topic}","message":"{number:012d}{filler}","ttl":300,'
                '"tag":4002,"prompt":true}}'
            ).encode()

        return frame

    # Latency

    async def _latency(self, report: Report, seconds: float) -> None:
        echo = await open_wire(self._echo_port)
        publisher, subscriber = [await connect(self._relay_port) for _ in range(2)]
        topic = os.urandom(32).hex()
        await subscriber.call("irn_subscribe", topic=topic)
        await asyncio.sleep(0.3)
        sent: list[float] = []
        relayed: list[float] = []
        bounced: list[float] = []
        subscriber.delivered = lambda _: relayed.append(
            time.monotonic() - sent[len(relayed)]
        )
        publisher.answered = lambda: None
        echo.received = lambda _: bounced.append(time.monotonic() - sent[len(bounced)])
        frame = self._frames(500)
        for number in range(int(seconds * LATENCY_RATE)):
            sent.append(time.monotonic())
            publisher.wire.send(frame(topic))
            echo.send(b"x" * 500)
            await asyncio.sleep(1 / LATENCY_RATE)
            if not number % LATENCY_RATE:
                await asyncio.sleep(0.05)
        await _until(lambda: len(relayed) == len(sent))
        p50, p99 = median(relayed), quantile(relayed, 0.99)
        commits = await asyncio.to_thread(self._commits)
        report.compare(
            f"relay latency at {LATENCY_RATE}/s, p50",
            p50 / (2 * median(bounced) + median(commits)),
            "two echo round trips and a commit",
            goal="<= 1",
        )
        tail = 2 * quantile(bounced, 0.99) + quantile(commits, 0.99)
        report.compare(
            f"relay latency at {LATENCY_RATE}/s, p99",
            p99 / tail,
            "the same, p99 each",
            goal="<= 1",
        )
        await self._behind_subscribe(report, publisher, subscriber)
        report.add("a commit of one row, p50", milli(median(commits)))
        report.add("latency: WebSocket echo, p50", milli(median(bounced)))
        report.add(
            f"latency: relay at {LATENCY_RATE}/s, p50",
            milli(p50),
            ratio=f"{p50 / median(bounced):.1f} of echo",
        )
        report.add("latency: relay, p99", milli(p99))
        for wire in (echo, publisher.wire, subscriber.wire):
            wire.close()

    def _commits(self) -> list[float]:
        """Seconds to write and commit one row, again and again."""
        from django.conf import settings

        taken = []
        arguments = connection_arguments(settings.DATABASES["default"])
        with psycopg.connect(**arguments) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS bench_commit (number int)")
            for number in range(COMMITS):
                began = time.monotonic()
                connection.execute("INSERT INTO bench_commit VALUES (%s)", [number])
                taken.append(time.monotonic() - began)
        return taken

    async def _behind_subscribe(
        self, report: Report, publisher: Client, subscriber: Client
    ) -> None:
        """A message published right behind a subscribe of an empty mailbox."""
        frame = self._frames(500)
        taken = []
        for _ in range(COMMITS):
            topic = os.urandom(32).hex()
            seen = asyncio.Event()
            subscriber.delivered = lambda _, seen=seen: seen.set()
            await subscriber.call("irn_subscribe", topic=topic)
            began = time.monotonic()
            publisher.wire.send(frame(topic))
            async with asyncio.timeout(PATIENCE_S):
                await seen.wait()
            taken.append(time.monotonic() - began)
        report.add(
            "a message right behind a subscribe, p50, p99",
            f"{milli(median(taken))}, {milli(quantile(taken, 0.99))}",
        )

    # Mailbox

    async def _mailbox(self, report: Report) -> None:
        publisher = await connect(self._relay_port)
        topics = [os.urandom(32).hex() for _ in range(KEPT_TOPICS)]
        texts = [f"{next(self._texts):012d}" + "A" * 488 for _ in range(KEPT_MESSAGES)]
        cpu, begin = self._relay.cpu(), time.monotonic()
        for start in range(0, KEPT_MESSAGES, BATCH):
            messages = [
                {"topic": topics[n % KEPT_TOPICS], "message": texts[n]}
                | {"ttl": 300, "tag": 4002}
                for n in range(start, start + BATCH)
            ]
            await publisher.call("irn_batchPublish", messages=messages)
        took = time.monotonic() - begin
        cpu = (self._relay.cpu() - cpu) / KEPT_MESSAGES
        report.add(
            "mailbox filled by irn_batchPublish",
            per_second(KEPT_MESSAGES / took),
            cpu=f"{micro(cpu)} relay",
        )
        for method, catch_up, goal in (
            ("irn_subscribe", _by_subscribe, "<= 0.3"),
            ("irn_batchSubscribe", _by_batch_subscribe, "<= 0.3"),
            ("irn_batchFetchMessages", _by_batch_fetch, "<= 0.1"),
        ):
            client = await connect(self._relay_port)
            cpu, begin = self._relay.cpu(), time.monotonic()
            await catch_up(client, topics)
            took = time.monotonic() - begin
            cpu = (self._relay.cpu() - cpu) / KEPT_MESSAGES
            report.add(
                f"mailbox of {KEPT_MESSAGES:,} by {method}",
                per_second(KEPT_MESSAGES / took),
                cpu=f"{micro(cpu)} relay",
            )
            report.compare(
                f"mailbox of {KEPT_MESSAGES:,} by {method}: CPU per message",
                cpu / self._live,
                "a live delivery",
                goal=goal,
            )
            client.wire.close()
        publisher.wire.close()


class Flight:
    """Publishers that keep a window of unanswered publications, for a while."""

    def __init__(
        self,
        publishers: list[Client],
        topics: list[str],
        frame: Callable[[str], bytes],
        seconds: float,
    ) -> None:
        self._publishers = publishers
        self._topics = itertools.cycle(topics)
        self._frame = frame
        self._seconds = seconds
        self._give_up_at = 0.0
        self._delivered = 0
        self._answered = 0
        self.sent = 0

    async def run(self) -> None:
        self._give_up_at = time.monotonic() + self._seconds
        for client in self._publishers:
            client.answered = lambda client=client: self._again(client)
            for _ in range(WINDOW):
                self._send(client)
        await _until(
            lambda: (
                time.monotonic() > self._give_up_at
                and self._answered == self.sent
                and self._delivered == self.sent
            )
        )

    def delivered(self, _: bytes) -> None:
        self._delivered += 1

    def _again(self, client: Client) -> None:
        self._answered += 1
        if time.monotonic() < self._give_up_at:
            self._send(client)

    def _send(self, client: Client) -> None:
        self.sent += 1
        client.wire.send(self._frame(next(self._topics)))


async def _by_subscribe(client: Client, topics: list[str]) -> None:
    seen = _expect(client)
    await asyncio.gather(*(client.call("irn_subscribe", topic=each) for each in topics))
    await _until(lambda: len(seen) == KEPT_MESSAGES)


async def _by_batch_subscribe(client: Client, topics: list[str]) -> None:
    seen = _expect(client)
    await client.call("irn_batchSubscribe", topics=topics)
    await _until(lambda: len(seen) == KEPT_MESSAGES)


async def _by_batch_fetch(client: Client, topics: list[str]) -> None:
    count = 0
    while True:
        page = await client.call("irn_batchFetchMessages", topics=topics)
        count += len(page["messages"])
        if not page["hasMore"]:
            break
    if count != KEPT_MESSAGES:
        raise SystemExit(f"fetched {count} of {KEPT_MESSAGES}")


def _expect(client: Client) -> set[bytes]:
    seen: set[bytes] = set()

    def delivered(payload: bytes) -> None:
        at = payload.index(b'"message":"') + 11
        text = payload[at : at + 12]
        if text in seen:
            raise SystemExit("a message was delivered twice")
        seen.add(text)

    client.delivered = delivered
    return seen


async def _until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > give_up_at:
            raise SystemExit("something was not delivered in time")
        await asyncio.sleep(POLL_S)


async def _hear(listener: Any, heard: list[int]) -> None:
    async for message in listener.listen():
        heard.append(len(message))
