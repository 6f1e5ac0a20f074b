"""Runs one fault of the table of steps and checks the invariants afterwards."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from tests.faults import invariants
from tests.faults.invariants import Findings
from tests.faults.outcome import Outcome
from tests.faults.waiting import RECOVERY_S, insist, wait_for

if TYPE_CHECKING:
    from tests.faults.steps import StepFault
    from tests.faults.world import Dapp, World


def run_step_fault(world: World, fault: StepFault) -> Outcome:
    outcome = Outcome(fault.name, fault.victim)
    found = Findings()
    system = world.system
    on_notification = fault.by == "notification"
    dapp = world.standing_dapp() if on_notification else world.new_dapp()
    victims = {fault.victim.partition(" ")[0]}
    system.wait_until_ready()
    pids = system.pids()
    world.new_log()
    system.arm(fault.place, fault.action)
    acting = threading.Thread(target=_act, args=(world, dapp, fault), daemon=True)
    acting.start()
    try:
        try:
            system.wait_until_reached(fault.place)
            started = time.monotonic()
            if fault.action == "hold":
                system.end(fault.victim)
        finally:
            system.release(fault.place)
        acting.join(RECOVERY_S)
        found.require("the caller got an answer", holds=not acting.is_alive())
        if not on_notification:
            wait_for("the subscription", lambda: dapp.url in world.subscribed_urls())
            notify(world, dapp, f"After {fault.name}")
        invariants.check_notifications(world, dapp, found)
        outcome.recovered_s = time.monotonic() - started
        if not on_notification:
            invariants.check_subscription(world, dapp, found)
        invariants.check_queues(found)
        system.wait_until_ready()
        restarted = invariants.check_restarts(pids, system.pids(), victims)
        found.require(f"I7 only {victims} restarted: {restarted}", holds=not restarted)
    except AssertionError as error:
        found.other.append(str(error))
    if found.all and on_notification:
        world.forget_standing_dapp()
    invariants.check_log(world.new_log(), [dapp.secret, *keys_of(dapp)], found)
    return settle(outcome, found)


def settle(outcome: Outcome, found: Findings) -> Outcome:
    outcome.lost, outcome.doubled = len(found.lost), len(found.doubled)
    outcome.problems = found.all
    recovered = outcome.recovered_s
    if recovered is not None and recovered > RECOVERY_S:
        outcome.problems.append(f"recovered in {recovered:.0f} s")
    return outcome


def notify(world: World, dapp: Dapp, title: str) -> None:
    """One notification, repeated with its key until the system has accepted it."""
    title = title[:64]
    dapp.titles.append(title)
    key = f"{dapp.pk}-{len(dapp.titles)}"
    insist(lambda: dapp.notify([world.account], title, key=key))


def _act(world: World, dapp: Dapp, fault: StepFault) -> None:
    if fault.by == "notification":
        notify(world, dapp, f"{len(dapp.titles)} {fault.place}")
    else:
        world.subscribe(dapp)


def keys_of(dapp: Dapp) -> list[str]:
    from castserver.models import Subscriber
    from keychain.services import Holder, sym_keys

    topics = Subscriber.objects.filter(project_id=dapp.pk).values_list("topic")
    found = insist(lambda: sym_keys(Holder.CAST, [topic for (topic,) in topics]))
    return [key.hex() for key in found.values()]
