"""Gateways that share topics: start with many, publish on all, one is killed.

Real processes and the embedded relay. Figures: how long a gateway takes until a relay has
confirmed every topic, and its memory; what a message costs when the topics need many relay
clients; and how long the rest takes to serve the topics of a gateway that is killed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil

from bench.environment import free_port, running, services
from bench.report import micro, per_second

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.environment import Measured
    from bench.report import Report

# At most 4,500 per relay client.
TOPICS = 60_000
# For a run of a few seconds: still several relay clients.
FEWER_TOPICS = 20_000
SHORT_S = 10
SUBSCRIBE_CHUNK = 10_000
MESSAGES = 10_000
FEW_TOPICS = 1_000
MESSAGE = "A" * 600
TAG = 5900
TAKE_OVER_S = 10
PATIENCE_S = 300
NO_LIMITS = (
    "relay_frames=100000000+100000000/s,"
    "relay_queue_messages=100000000,relay_queue_bytes=100000000000"
)


def run(report: Report, seconds: float) -> None:
    count = TOPICS if seconds >= SHORT_S else FEWER_TOPICS
    port = free_port()
    with services(NOTIFYWEB_RELAY_PORT=str(port), NOTIFYWEB_LIMITS=NO_LIMITS):
        import django

        django.setup()
        with running("manage.py", "relay", "--port", str(port), port=port) as relay:
            # A gateway has no port; the relay's answers already.
            gateway = ("manage.py", "gateway", "--party", "cast")
            topics = _topics(count)
            with running(*gateway, port=port) as first:
                few = _publish(report, first, topics[:FEW_TOPICS], "one lane")
                _subscribe_all(report, first, relay, topics)
                many = _publish(report, first, topics, "all topics")
                report.compare(
                    f"gateway: CPU of a message on {count:,} topics",
                    many / few,
                    f"on {FEW_TOPICS:,} topics, with one relay client",
                    goal="<= 1.5",
                )
                with running(*gateway, port=port) as second:
                    _wait(lambda: len(_holders()) == 2)
                    _kill(report, second, topics)


def _topics(count: int) -> list[str]:
    import hashlib

    return [hashlib.sha256(str(n).encode()).hexdigest() for n in range(count)]


def _subscribe_all(
    report: Report, gateway: Measured, relay: Measured, topics: list[str]
) -> None:
    from messaging import outbox
    from messaging.models import Party, PartyClient, TopicSubscription

    for start in range(0, len(topics), SUBSCRIBE_CHUNK):
        outbox.subscribe(Party.CAST, topics[start : start + SUBSCRIBE_CHUNK])
    began, cpu = time.monotonic(), gateway.cpu()
    memory = _memory(gateway), _memory(relay)
    pending = TopicSubscription.objects.filter(confirmed_at=None)
    _wait(lambda: not pending.exists())
    took = time.monotonic() - began
    lanes = PartyClient.objects.filter(party=Party.CAST).count()
    grown = [
        _memory(each) - n for each, n in zip((gateway, relay), memory, strict=True)
    ]
    report.add(
        f"{len(topics):,} topics subscribed, by {lanes} relay clients",
        f"{took:.1f} s, {per_second(len(topics) / took)}",
        ratio=f"memory: gateway +{grown[0]:.0f} MiB, relay +{grown[1]:.0f} MiB",
        cpu=f"gateway {micro((gateway.cpu() - cpu) / len(topics))} a topic",
    )


def _publish(report: Report, gateway: Measured, topics: list[str], what: str) -> float:
    """Publish ``MESSAGES`` on the topics in turn; the gateway's CPU seconds of each."""
    # Once to warm up.
    for is_counted in (False, True):
        _insert(topics, MESSAGES if is_counted else 500)
        began, cpu = time.monotonic(), gateway.cpu()
        _wait(_all_sent)
    took, each = time.monotonic() - began, (gateway.cpu() - cpu) / MESSAGES
    report.add(
        f"{MESSAGES:,} messages, {what}",
        per_second(MESSAGES / took),
        cpu=f"gateway {micro(each)} a message",
    )
    return each


def _kill(report: Report, victim: Measured, topics: list[str]) -> None:
    victim.process.kill()
    victim.process.wait()
    began = time.monotonic()
    _insert(topics, 2_000)
    _wait(_all_sent)
    took = time.monotonic() - began
    report.add(
        "one of two gateways killed: until its topics are served", f"{took:.1f} s"
    )
    report.compare(
        "gateway killed: until all of its topics are served",
        took / TAKE_OVER_S,
        f"{TAKE_OVER_S} s",
        goal="<= 1",
    )


_number = 0


def _insert(topics: list[str], count: int) -> None:
    global _number
    from messaging import outbox
    from messaging.models import Party
    from walletconnect.crypto.keys import Topic
    from walletconnect.relay.messages import Publication

    step = max(1, len(topics) // count)
    chosen = (topics[::step] * count)[:count]
    publications = []
    for topic in chosen:
        _number += 1
        publications.append(
            Publication(Topic(topic), f"{_number:012d}{MESSAGE}", TAG, 3600)
        )
    for start in range(0, count, 1_000):
        outbox.publish_all(Party.CAST, publications[start : start + 1_000])


def _all_sent() -> bool:
    from messaging.models import OutboxMessage

    return not OutboxMessage.objects.filter(party="cast", state="due").exists()


def _holders() -> set[int]:
    """The database sessions that hold lanes of the party."""
    from django.db import connection

    from messaging.gateway.membership import LANE_LOCK, PARTY_NUMBERS
    from messaging.models import Party

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND classid::bigint = %s",
            [LANE_LOCK + PARTY_NUMBERS[Party.CAST]],
        )
        return {pid for (pid,) in cursor.fetchall()}


def _memory(measured: Measured) -> float:
    return psutil.Process(measured.process.pid).memory_info().rss / 2**20


def _wait(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > give_up_at:
            raise SystemExit(f"not done after {PATIENCE_S} s")
        time.sleep(0.05)
