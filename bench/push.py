"""Pushes to browsers: one web process with many sockets, beside Channels groups.

Both servers are Daphne with the same settings, and the same clients read both. Ours reads
the events from the database, renders the rows, and gets an acknowledgement; Channels groups
get the finished frame from the sender and pass it on. Acknowledgements count; what open sockets
cost without pushes (heartbeats, pings) is a figure of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bench.environment import BASE, free_port, running, services
from bench.report import micro, milli, quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.environment import Services
    from bench.report import Report
    from subscriptions.models import Subscription

ORIGIN: Final = "http://localhost:8000"
# What a person has open: tabs on a few devices.
SOCKETS_OF_USER: Final = 5
MOST_SOCKETS: Final = 5_000
# Connecting takes most of the time: seconds for each socket of both servers, with spare.
SECONDS_PER_SOCKET: Final = 0.02
# Two sizes, of which the smaller is a fifth, show how p99 grows.
TWO_SIZES_FROM: Final = 1_000
ROUNDS: Final = 5
SINGLES: Final = 300
SINGLES_PER_S: Final = 100
SETTLE_S: Final = 0.2
# Acknowledgements are counted: the last come so long after the last event.
ACKNOWLEDGED_S: Final = 5.5
IDLE_S: Final = 15.0


def run(report: Report, seconds: float) -> None:
    wanted = int(os.environ.get("BENCH_SOCKETS", "0"))
    number = wanted or min(MOST_SOCKETS, int(seconds / SECONDS_PER_SOCKET))
    number = max(100, number // SOCKETS_OF_USER * SOCKETS_OF_USER)
    sizes = [number] if number < TWO_SIZES_FROM else [number // 5, number]
    with services(NOTIFYWEB_LIMITS="live_sockets=100000") as around:
        import django

        django.setup()
        from keychain.services import ensure_canary

        ensure_canary()
        found = {}
        users = [_user(place) for place in range(number // SOCKETS_OF_USER)]
        for size in sizes:
            chosen = users[: size // SOCKETS_OF_USER]
            ours = _measure(around, _Ours(chosen))
            groups = _measure(around, _Groups(chosen))
            found[size] = ours, groups
            _add(report, size, ours, groups)
        _compare(report, found)


@dataclass(frozen=True, slots=True)
class _Figures:
    """Of one server. CPU seconds are the web process's, for each frame or event."""

    p50: float
    p99: float
    frame: float
    event: float
    single_p99: float
    postgres: float
    # CPU seconds in each second for each open socket; not in the others.
    idle: float


@dataclass(frozen=True, slots=True)
class _User:
    pk: int
    cookie: str
    subscription: Subscription


class _Ours:
    command = ("manage.py", "daphne", "--bind", "127.0.0.1", "--port")
    acks = True

    def __init__(self, users: list[_User]) -> None:
        self.users = users

    def socket(self, port: int, user: _User) -> dict[str, Any]:
        from accounts.services import head_of

        head = head_of(user.pk)
        return {
            "url": f"ws://127.0.0.1:{port}/ws/device/",
            "headers": {"Cookie": user.cookie},
            "resume": {
                "type": "resume",
                "generation": str(head.generation),
                "sequence": head.sequence,
            },
        }

    def push(self, users: list[_User], mark: str, first: int) -> float:
        """A notification for each, in one transaction; when it was about to commit."""
        from django.db import transaction

        from accounts.services import record_events
        from common import clock
        from subscriptions.models import NotifyMessageRecord
        from subscriptions.services.wallet import message_events

        now = clock.now()
        with transaction.atomic():
            records = NotifyMessageRecord.objects.bulk_create(
                NotifyMessageRecord(
                    subscription=user.subscription,
                    rpc_id=time.monotonic_ns(),
                    type="alerts",
                    title=f"{mark}{place}@",
                    body="Voting ends on Friday at noon. " * 6,
                    url="https://dapp-1.example/there",
                    message_auth=f"x{mark}{place}",
                    published_at=now,
                    received_at=now,
                )
                for place, user in enumerate(users, first)
            )
            record_events(message_events("notify.message", records))
            return time.monotonic()


class _Groups:
    command = ("-m", "bench.push_groups")
    acks = False

    def __init__(self, users: list[_User]) -> None:
        self.users = users
        self._runner = asyncio.Runner()

    def socket(self, port: int, user: _User) -> dict[str, Any]:
        return {
            "url": f"ws://127.0.0.1:{port}/?{user.pk}",
            "headers": {},
            "resume": None,
        }

    def push(self, users: list[_User], mark: str, first: int) -> float:
        from channels.layers import get_channel_layer

        # As long as our frame of one row.
        text = f"{mark}{{place}}@" + "x" * 2_600
        layer = get_channel_layer()
        assert layer is not None
        started = time.monotonic()

        async def send_all() -> None:
            for place, user in enumerate(users, first):
                message = {"type": "push", "text": text.format(place=place)}
                await layer.group_send(f"bench.{user.pk}", message)

        self._runner.run(send_all())
        return started


def _measure(around: Services, server: _Ours | _Groups) -> _Figures:
    port = free_port()
    users = server.users
    plan = {
        "origin": ORIGIN,
        "acks": server.acks,
        "sockets": [
            server.socket(port, user) for user in users for _ in range(SOCKETS_OF_USER)
        ],
    }
    with (
        running(*server.command, str(port), port=port) as web,
        _clients(plan) as receive,
    ):
        # The first round imports and compiles.
        took: list[float] = []
        _all_at_once(server, receive, users, "warm")
        # Heartbeats, pings and timers cost as long as sockets are open, pushes or not.
        time.sleep(SETTLE_S + ACKNOWLEDGED_S)
        cpu, began = web.cpu(), time.monotonic()
        time.sleep(IDLE_S)
        idle = (web.cpu() - cpu) / (time.monotonic() - began)
        cpu, postgres = web.cpu(), around.postgres_cpu()
        began = time.monotonic()
        for number in range(ROUNDS):
            took += _all_at_once(server, receive, users, f"round{number}x")
        time.sleep(ACKNOWLEDGED_S)
        frames = ROUNDS * len(users) * SOCKETS_OF_USER
        frame = (web.cpu() - cpu - idle * (time.monotonic() - began)) / frames
        postgres = (around.postgres_cpu() - postgres) / (ROUNDS * len(users))
        cpu, began = web.cpu(), time.monotonic()
        single = _one_by_one(server, receive, users)
        time.sleep(ACKNOWLEDGED_S)
        event = (web.cpu() - cpu - idle * (time.monotonic() - began)) / SINGLES
    return _Figures(
        p50=quantile(took, 0.5),
        p99=quantile(took, 0.99),
        frame=frame,
        event=event,
        single_p99=quantile(single, 0.99),
        postgres=postgres,
        idle=idle / len(plan["sockets"]),
    )


def _all_at_once(
    server: _Ours | _Groups, receive: Callable, users: list[_User], mark: str
) -> list[float]:
    with receive(mark, len(users) * SOCKETS_OF_USER) as arrivals:
        started = server.push(users, mark, 0)
    time.sleep(SETTLE_S)
    return [at - started for _, at in arrivals]


def _one_by_one(
    server: _Ours | _Groups, receive: Callable, users: list[_User]
) -> list[float]:
    """Each event in a transaction of its own, at a steady rate."""
    starts = []
    with receive("single", SINGLES * SOCKETS_OF_USER) as arrivals:
        due = time.monotonic()
        for place in range(SINGLES):
            time.sleep(max(0.0, due - time.monotonic()))
            due += 1 / SINGLES_PER_S
            user = users[place * 7919 % len(users)]
            starts.append(server.push([user], "single", place))
    time.sleep(SETTLE_S)
    return [at - starts[int(place)] for place, at in arrivals]


@contextmanager
def _clients(plan: dict[str, Any]) -> Iterator[Callable]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.push_clients"],
        cwd=BASE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    lines, answers = process.stdin, process.stdout

    def write(value: Any) -> None:
        lines.write(json.dumps(value) + "\n")
        lines.flush()

    def expect(text: str) -> None:
        if answers.readline().strip() != text:
            raise SystemExit("the clients failed")

    @contextmanager
    def receive(mark: str, wanted: int) -> Iterator[list[tuple[str, float]]]:
        arrivals: list[tuple[str, float]] = []
        write([mark, wanted])
        expect("waiting")
        yield arrivals
        arrivals += json.loads(answers.readline())

    try:
        write(plan)
        expect("open")
        yield receive
    finally:
        process.terminate()
        process.wait()


def _add(report: Report, size: int, ours: _Figures, groups: _Figures) -> None:
    for name, each in (("ours", ours), ("Channels groups", groups)):
        report.add(
            f"{size:,} sockets, one event for each user at once: {name}",
            f"p50 {milli(each.p50)}, p99 {milli(each.p99)}",
            ratio=f"p99 {each.p99 / groups.p99:.2f}x of Channels groups",
            cpu=f"web {micro(each.frame)} a frame, "
            f"{micro(each.frame * SOCKETS_OF_USER)} an event, "
            f"PostgreSQL {micro(each.postgres)} an event; "
            f"{micro(each.idle)} a second for an open socket",
        )
    for name, each in (("ours", ours), ("Channels groups", groups)):
        report.add(
            f"{size:,} sockets, {SINGLES_PER_S} events/s one by one: {name}",
            f"p99 {milli(each.single_p99)}",
            cpu=f"web {micro(each.event)} an event, "
            f"{micro(each.event / SOCKETS_OF_USER)} a frame",
        )


def _compare(report: Report, found: dict[int, tuple[_Figures, _Figures]]) -> None:
    report.note(f"{SOCKETS_OF_USER} sockets for each user.")
    (few, (at_few, _)), *_, (many, (at_many, groups)) = [*found.items()] * 2
    if few != many:
        slope = (at_many.p99 - at_few.p99) / (many - few)
        report.note(f"p99 grows by {micro(slope)} a socket.")
    if many < MOST_SOCKETS:
        report.note(f"--sockets {MOST_SOCKETS} measures as many as the goal names.")
    what = f"push to {many:,} browser sockets"
    report.compare(
        f"{what}: p99",
        at_many.p99 / groups.p99,
        "Channels groups",
        goal="<= 0.5",
    )
    report.compare(
        f"{what}: CPU of the web process",
        at_many.frame / groups.frame,
        "Channels groups",
        goal="<= 0.35",
    )
    report.compare(f"{what}: CPU of one", at_many.frame * 1e3, "1 ms", goal="<= 0.5")


def _user(place: int) -> _User:
    from django.conf import settings
    from django.test import Client

    from accounts.models import Account, User
    from accounts.services import add_device, bind_session
    from bench.pages import subscription
    from common import clock

    user = User.objects.create_user(username=f"bench {place}")
    client = Client(HTTP_HOST="localhost:8000")
    client.force_login(user)
    key = str(client.session.session_key)
    bind_session(add_device(user, user_agent="bench"), key)
    account = Account.objects.create(
        user=user, address=f"eip155:1:0x{place:040x}", created_at=clock.now()
    )
    return _User(
        user.pk,
        f"{settings.SESSION_COOKIE_NAME}={key}",
        subscription(account, place % 20),
    )
