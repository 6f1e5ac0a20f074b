"""The storm: notifications to subscribers of both generations while processes die.

A random process is killed every few seconds, PostgreSQL and Redis among them, for the time
of the storm at least and until every call is accepted, however long a slow machine needs.
Dapps' backends repeat calls with their Idempotency-Key until they are answered. Afterwards
every accepted notification must be in the inbox of its account once, and acknowledged.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.faults import invariants
from tests.faults.invariants import Findings
from tests.faults.outcome import Outcome
from tests.faults.running import settle
from tests.faults.waiting import (
    PROGRESS_S,
    close_connections,
    insist,
    wait_while_it_grows,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.faults.world import Dapp, World

VICTIMS = ("web", "relay", "gateway", "worker", "outbound", "beat", "redis", "postgres")
TITLE = "Storm"
CALLERS = 6
MAX_ACCOUNTS_PER_CALL = 3
# One call, repeated while processes die under it.
CALL_S = 300.0
# Bounds for machines that get nowhere; what stands still fails after a minute.
MAX_PREPARATION_S = 1200.0
MAX_BACKLOG_S = 1800.0


@dataclass(frozen=True)
class Size:
    """``seconds`` of storm with a kill every ``every_s``."""

    notifications: int
    subscribers: int
    seconds: float
    every_s: float = 5.0

    @classmethod
    def parse(cls, text: str) -> Size:
        notifications, subscribers, seconds = text.split(",")
        return cls(int(notifications), int(subscribers), float(seconds))


@dataclass
class Sent:
    """Accepted notifications: title by title, the accounts they went to."""

    accounts: dict[str, list[str]] = field(default_factory=dict)
    repeats: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def run_storm(world: World, size: Size, rng: random.Random) -> Outcome:
    outcome = Outcome(
        f"storm of {size.notifications} notifications to {size.subscribers} subscribers",
        "any",
    )
    found = Findings()
    dapp = world.new_dapp()
    began = time.monotonic()
    accounts = subscribers(world, dapp, size.subscribers)
    outcome.notes.append(
        f"{len(accounts)} subscribers, half of each generation, "
        f"ready after {time.monotonic() - began:.0f} s"
    )
    world.new_log()
    sent = Sent()
    over = threading.Event()
    kills: Counter[str] = Counter()
    killer = threading.Thread(
        target=_kill,
        args=(world, rng, size.every_s),
        kwargs={"over": over, "kills": kills},
    )
    calls = [
        (
            f"{TITLE} {number}",
            rng.sample(accounts, rng.randint(1, MAX_ACCOUNTS_PER_CALL)),
        )
        for number in range(size.notifications)
    ]
    began = time.monotonic()
    killer.start()
    try:
        _send_all(dapp, calls, sent, began=began, seconds=size.seconds)
    except AssertionError as error:
        found.other.append(f"a call was not accepted: {error}")
    finally:
        took = time.monotonic() - began
        # The storm lasts its time, even if all is sent.
        over.wait(max(0.0, size.seconds - took))
        over.set()
        killer.join()
    ended = time.monotonic()
    try:
        outcome.recovered_s = _check(world, dapp, sent, found)
        outcome.notes.append(
            f"all receipts {time.monotonic() - ended:.0f} s after the last kill, "
            f"never longer than {outcome.recovered_s:.1f} s without one"
        )
        invariants.check_queues(found)
        world.system.wait_until_ready()
    except AssertionError as error:
        found.other.append(str(error))
    invariants.check_log(world.new_log(), [dapp.secret], found)
    deliveries = sum(map(len, sent.accounts.values()))
    killed = ", ".join(f"{name} {count}" for name, count in sorted(kills.items()))
    outcome.notes += [
        f"{len(sent.accounts)} calls accepted in {took:.0f} s, {sent.repeats} repeated",
        f"{deliveries - len(found.lost)} of {deliveries} deliveries in the inboxes, "
        f"{len(found.doubled)} doubled",
        f"{sum(kills.values())} kills: {killed}",
    ]
    return settle(outcome, found)


# --- subscribers ------------------------------------------------------------------------


def subscribers(world: World, dapp: Dapp, count: int) -> list[str]:
    """``count`` accounts with inboxes here, half of which subscribed by a later client."""
    from castserver.models import Project
    from subscriptions import services as wallet
    from subscriptions.models import Subscription
    from tests.castserver.world import Wallet, deliver
    from tests.people import sign_in_person
    from walletconnect.identity.authorization import ALL_APPS_STATEMENT
    from walletconnect.identity.did import AppUrl

    project = Project.objects.get(pk=dapp.pk)
    app = AppUrl.parse(dapp.url).did
    later = []
    accounts = []
    for number in range(count):
        name = f"{number + 1:032d}"  # the private key
        person = sign_in_person(name)
        if number % 2:
            # The account's phone is of 2024; ours learns of it by the Cast Server's list.
            phone = Wallet(name, statement=ALL_APPS_STATEMENT).register()
            later.append(phone.request(project, app=app)[0].publish)
        else:
            wallet.subscribe(person.account, dapp.url, device=person.device)
        accounts.append(person.account.address)
        if len(accounts) % 100 == 0:
            print(f"  {len(accounts)} of {count} accounts signed in", flush=True)
    deliver(*later, handle=False)
    rows = Subscription.objects.active().filter(dapp_url=dapp.url)
    wait_while_it_grows("subscriptions", rows.count, count, limit_s=MAX_PREPARATION_S)
    return accounts


# --- sending and killing ----------------------------------------------------------------


def _send_all(
    dapp: Dapp,
    calls: list[tuple[str, list[str]]],
    sent: Sent,
    *,
    began: float,
    seconds: float,
) -> None:
    """Spread over the time of the storm, by several callers."""
    numbers = itertools.count()

    def send(call: tuple[str, list[str]]) -> None:
        number = next(numbers)
        due = began + seconds * number / len(calls)
        time.sleep(max(0.0, due - time.monotonic()))
        title, accounts = call
        attempts = itertools.count()

        def attempt() -> list[str]:
            next(attempts)
            return dapp.notify(accounts, title, key=f"{dapp.pk}-{number}")

        accepted = insist(attempt, timeout=CALL_S)
        with sent.lock:
            sent.accounts[title] = accepted
            sent.repeats += next(attempts) > 1
        if sorted(accepted) != sorted(accounts):
            raise AssertionError(f"{title} to {accounts} was sent to {accepted}")

    printed = began
    with ThreadPoolExecutor(CALLERS) as callers:
        for done in [callers.submit(send, call) for call in calls]:
            done.result()
            now = time.monotonic()
            if now - printed > PROGRESS_S:
                printed = now
                print(
                    f"  {len(sent.accounts)} of {len(calls)} calls accepted, "
                    f"{sent.repeats} repeated, after {now - began:.0f} s",
                    flush=True,
                )


def _kill(
    world: World,
    rng: random.Random,
    every_s: float,
    *,
    over: threading.Event,
    kills: Counter[str],
) -> None:
    while not over.wait(every_s):
        name = rng.choice(VICTIMS)
        try:
            world.system.kill(name)
        except (KeyError, ProcessLookupError):
            continue  # still down from the last kill
        kills[name] += 1


def _check(world: World, dapp: Dapp, sent: Sent, found: Findings) -> float:
    """The longest time in which no receipt came after the storm."""
    from castserver.models import Delivery
    from subscriptions.models import NotifyMessageRecord

    deliveries = Delivery.objects.filter(notification__project_id=dapp.pk)
    wanted = Counter(
        (title, account)
        for title, accounts in sent.accounts.items()
        for account in accounts
    )
    close_connections()
    receipts = deliveries.exclude(receipt_at=None)
    stall_s = 0.0
    try:
        stall_s = wait_while_it_grows(
            "receipts", receipts.count, wanted.total(), limit_s=MAX_BACKLOG_S
        )
    except AssertionError as error:
        found.other += [
            str(error),
            f"health: {world.system.readiness()}",
            *invariants.message_counts(),
        ]
        _report_late_receipts(receipts.count, wanted.total(), found)
    records = NotifyMessageRecord.objects.filter(
        subscription__dapp_url=dapp.url, title__startswith=TITLE
    )
    seen = Counter(records.values_list("title", "subscription__account__address"))
    for key in wanted.keys() | seen.keys():
        found.count(f"notification {key}", seen[key], wanted[key])
    found.count("deliveries", deliveries.count(), wanted.total())
    final = receipts.exclude(sent_at=None).count()
    found.count("final deliveries", final, wanted.total())
    return stall_s


def _report_late_receipts(
    count: Callable[[], int], wanted: int, found: Findings
) -> None:
    """Whether it goes on later than promised, or never."""
    began = time.monotonic()
    try:
        wait_while_it_grows("late receipts", count, wanted, stall_s=240, limit_s=900)
    except AssertionError as error:
        found.other.append(str(error))
    else:
        found.other.append(f"all receipts {time.monotonic() - began:.0f} s too late")
