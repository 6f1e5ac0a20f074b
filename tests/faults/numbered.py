"""Outages, hangs and bursts of kills under load: what reliability.md numbers as F01 to F50.

Each fault breaks the system while a dapp sends notifications, and puts the outside world
right again, never the system. That has to recover by itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import psycopg
import redis

from notifyweb.embedded.paths import SUPERUSER, Paths
from tests.faults import invariants
from tests.faults.deployment import children_of
from tests.faults.invariants import Findings
from tests.faults.load import Load
from tests.faults.outcome import Outcome
from tests.faults.rehearsals import backup, disk_full, rolling_restart, rotation
from tests.faults.running import keys_of, notify, settle
from tests.faults.waiting import wait_for
from tests.system import BASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.world import World

POLL_S = 0.3


@dataclass(frozen=True, slots=True)
class Numbered:
    """``run`` breaks the system and returns figures."""

    number: str
    what: str
    victim: str
    run: Callable[[World, Findings], list[str]]
    # Whether notifications are sent all the time.
    under_load: bool = True
    # Short enough for the sample in each run of the suite.
    is_short: bool = False

    @property
    def name(self) -> str:
        return f"{self.number} {self.what}"


def run_numbered(world: World, fault: Numbered) -> Outcome:
    outcome = Outcome(fault.name, fault.victim)
    found = Findings()
    try:
        world.system.wait_until_ready()
        dapp = world.standing_dapp()
        world.new_log()
        load = Load(world, dapp)
        with load if fault.under_load else contextlib.nullcontext():
            outcome.notes += fault.run(world, found)
            ended = time.monotonic()
        if load.failure:
            found.other.append(load.failure)
        invariants.check_notifications(world, dapp, found)
        world.system.wait_until_ready(timeout=60.0)
        outcome.recovered_s = time.monotonic() - ended
        invariants.check_queues(found)
        outcome.notes.append(
            f"{load.count} notifications, the slowest call took {load.slowest_s:.1f} s"
        )
        invariants.check_log(world.new_log(), [dapp.secret, *keys_of(dapp)], found)
    except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
        # The faults behind it are still run.
        found.other.append(f"{type(error).__name__}: {error}")
    if found.all:
        world.forget_standing_dapp()
    return settle(outcome, found)


# --- what people see meanwhile ----------------------------------------------------------


class Visitor:
    """Opens the inbox all the time; counts statuses and keeps the last page of each."""

    def __init__(self, world: World) -> None:
        self._client = world.devices[1].client_copy()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.statuses: Counter[int] = Counter()
        self.pages: dict[int, httpx.Response] = {}

    def __enter__(self) -> Visitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)
        self._client.close()

    def _run(self) -> None:
        while not self._over.wait(POLL_S):
            try:
                page = self._client.get("/inbox?tab=all")
            except httpx.HTTPError:
                self.statuses[0] += 1  # cut off in the middle, as by a killed process
            else:
                self.statuses[page.status_code] += 1
                self.pages[page.status_code] = page

    def check(self, found: Findings, *allowed: int) -> str:
        unexpected = {s: n for s, n in self.statuses.items() if s not in {0, *allowed}}
        found.require(f"pages answered {unexpected}", holds=not unexpected)
        if away := self.pages.get(503):
            found.require("503 has Retry-After", holds="retry-after" in away.headers)
            found.require("503 says what is wrong", holds=AWAY_TEXT in away.text)
        return f"the inbox answered {dict(sorted(self.statuses.items()))}"


AWAY_TEXT = "Back in a moment"


# --- Redis ------------------------------------------------------------------------------


def _redis(world: World) -> redis.Redis:
    path = Paths(world.system.data_dir / "data").redis_socket
    return redis.Redis(unix_socket_path=str(path), socket_timeout=5)


def redis_emptied(world: World, found: Findings) -> list[str]:
    with _redis(world) as client, Visitor(world) as visitor:
        for _ in range(5):
            time.sleep(1)
            client.flushall()
    return [visitor.check(found, 200)]


def redis_killed_often(world: World, found: Findings) -> list[str]:
    with Visitor(world) as visitor:
        for _ in range(5):
            world.system.end("redis")
            time.sleep(1.5)
    return [visitor.check(found, 200)]


def redis_hangs(world: World, found: Findings) -> list[str]:
    with Visitor(world) as visitor, world.system.stopped("redis"):
        time.sleep(15)
    return [visitor.check(found, 200)]


def redis_full(world: World, found: Findings) -> list[str]:
    with _redis(world) as client, Visitor(world) as visitor:
        before = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", 1)
        time.sleep(10)
        client.config_set("maxmemory", before)
    return [visitor.check(found, 200)]


# --- PostgreSQL -------------------------------------------------------------------------


def postgres_hangs(
    world: World, found: Findings, *, seconds: float = 60.0
) -> list[str]:
    """Away for a minute: connections are accepted by the kernel and never answered."""
    with Visitor(world) as visitor, world.system.stopped("postgres"):
        time.sleep(seconds)
    return [visitor.check(found, 200, 503)]


def postgres_killed_often(world: World, found: Findings) -> list[str]:
    with Visitor(world) as visitor:
        for _ in range(3):
            world.system.restart("postgres")
            time.sleep(1)
    return [visitor.check(found, 200, 503)]


def postgres_backends_ended(world: World, found: Findings) -> list[str]:
    """All sessions are cut at once, as by a failover or a pooler's restart."""
    with _superuser(world) as connection, Visitor(world) as visitor:
        for _ in range(5):
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = 'notifyweb' AND pid <> pg_backend_pid()"
            )
            time.sleep(1)
    return [visitor.check(found, 200, 503)]


def postgres_read_only(world: World, found: Findings) -> list[str]:
    """As a standby after a failover that went wrong."""
    with _superuser(world) as connection, Visitor(world) as visitor:
        connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        connection.execute("SELECT pg_reload_conf()")
        try:
            wait_for("/readyz to notice", lambda: not _writes(world), timeout=20)
            time.sleep(5)
        finally:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
            connection.execute("SELECT pg_reload_conf()")
    return [visitor.check(found, 200, 503)]


def _writes(world: World) -> bool:
    _, components = world.system.readiness()
    return bool(components.get("writes", {}).get("ok", True))


def _superuser(world: World) -> psycopg.Connection:
    run = Paths(world.system.data_dir / "data").postgres_run
    return psycopg.connect(
        host=str(run), port=5432, user=SUPERUSER, dbname="notifyweb", autocommit=True
    )


# --- our processes ----------------------------------------------------------------------


def relay_hangs(world: World, found: Findings) -> list[str]:
    with Visitor(world) as visitor, world.system.stopped("relay"):
        time.sleep(15)
    return [visitor.check(found, 200)]


def burst(name: str, count: int) -> Callable[[World, Findings], list[str]]:
    """``name`` is killed as soon as it is there again, ``count`` times."""

    def run(world: World, found: Findings) -> list[str]:
        began = time.monotonic()
        for _ in range(count):
            world.system.restart(name)
            time.sleep(0.2)
        return [f"{count} kills of {name} in {time.monotonic() - began:.0f} s"]

    return run


def worker_children_killed(world: World, found: Findings) -> list[str]:
    kills = 0
    for _ in range(10):
        with contextlib.suppress(KeyError, OSError, IndexError):
            os.kill(children_of(world.system.pid("worker"))[0], signal.SIGKILL)
            kills += 1
        time.sleep(1)
    return [f"{kills} kills of processes that were handling messages"]


def two_beats(world: World, found: Findings) -> list[str]:
    with world.system.stopped("beat"):
        time.sleep(10)
        with second(world, "-m", "celery", "-q", "-A", "notifyweb", "beat"):
            # The lock of the first one ends after twelve seconds.
            time.sleep(15)
    return []


def two_gateways(world: World, found: Findings) -> list[str]:
    with second(world, "manage.py", "gateway"):
        time.sleep(10)
        world.system.end("gateway")
        time.sleep(5)
    return []


@contextlib.contextmanager
def second(world: World, *arguments: str, **environment: str) -> Iterator[int]:
    """Another process of the system beside the launcher's own; its pid."""
    with world.system.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=BASE,
            env={**world.system.environment, **environment},
            stdout=log,
            stderr=log,
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(25)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def terminated(world: World, found: Findings) -> list[str]:
    """SIGTERM under load, and a new start on the same data."""
    began, logged = time.monotonic(), world.system.log.stat().st_size
    code = world.system.stop()
    took = time.monotonic() - began
    found.require(f"exit code {code}", holds=code == 0)
    found.require(f"stopped within 25 s: {took:.0f} s", holds=took < 25)
    with world.system.log.open("rb") as log:
        log.seek(logged)
        tracebacks = log.read().count(b"Traceback")
    world.system.start()
    return [f"stopped after {took:.1f} s", f"{tracebacks} tracebacks in the log"]


def launcher_killed(world: World, found: Findings) -> list[str]:
    """A power cut: everything ends at once, without any clean-up."""
    world.system.end("launcher")
    world.system.wait_for_end()
    world.system.start()
    return []


# --- the clock ------------------------------------------------------------------------


def clock_steps(world: World, found: Findings) -> list[str]:
    """Hours forward and back, between two notifications each."""
    dapp = world.standing_dapp()
    steps = (3600, 0, 119, 0, -119, 0)
    try:
        for seconds in steps:
            world.system.step_clock(seconds)
            notify(world, dapp, f"Clock {len(dapp.titles)} {seconds}")
            invariants.check_notifications(world, dapp, found)
    finally:
        world.system.step_clock(0)
    return [f"stepped to {', '.join(map(str, steps))} s"]


NUMBERED = [
    Numbered(
        "F23", "Redis is emptied five times", "redis", redis_emptied, is_short=True
    ),
    Numbered("F23", "Redis is killed five times", "redis", redis_killed_often),
    Numbered("F26", "Redis hangs for 15 s", "redis", redis_hangs),
    Numbered("F27", "Redis is full for 10 s", "redis", redis_full),
    Numbered("F29", "PostgreSQL is away for 60 s", "postgres", postgres_hangs),
    Numbered(
        "F29", "PostgreSQL is killed three times", "postgres", postgres_killed_often
    ),
    Numbered(
        "F29",
        "all sessions are cut five times",
        "postgres",
        postgres_backends_ended,
        is_short=True,
    ),
    Numbered("F29", "PostgreSQL is read-only", "postgres", postgres_read_only),
    Numbered("F13", "the relay hangs for 15 s", "relay", relay_hangs),
    Numbered("F10", "the relay is killed ten times", "relay", burst("relay", 10)),
    Numbered("F04", "the gateway is killed 20 times", "gateway", burst("gateway", 20)),
    Numbered("F01", "web is killed five times", "web", burst("web", 5)),
    Numbered(
        "F20",
        "processes of the worker are killed",
        "worker",
        worker_children_killed,
        is_short=True,
    ),
    Numbered("F20", "the worker is killed five times", "worker", burst("worker", 5)),
    Numbered("F20", "outbound is killed five times", "outbound", burst("outbound", 5)),
    Numbered("F03", "beat hangs, then there are two", "beat", two_beats),
    Numbered("F05", "two gateways, one is killed", "gateway", two_gateways),
    Numbered("F19", "the clock steps", "clock", clock_steps, under_load=False),
    Numbered("F38", "the disk is full", "disk", disk_full),
    Numbered("F46", "backup and restore, killed", "backup", backup),
    Numbered("F42", "the sealing key is replaced", "all", rotation),
    Numbered("rolling", "two of each are restarted", "all", rolling_restart),
    Numbered("F47", "SIGTERM under load", "launcher", terminated),
    Numbered("F47", "the launcher is killed", "launcher", launcher_killed),
]
