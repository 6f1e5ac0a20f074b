"""``python -m tests.faults``: break a running system in every way of the tables."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from pathlib import Path

from tests.faults.deployment import Deployment
from tests.faults.outcome import Outcome, table, write_json
from tests.faults.steps import STEP_FAULTS


def main() -> int:
    options = _options()
    # The finally clause below ends the system.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rng = random.Random(options.seed)  # noqa: S311  # a choice of tests
    faults = [each for each in STEP_FAULTS if options.only in each.name]
    if options.sample:
        faults = rng.sample(faults, min(options.sample, len(faults)))
    print(f"seed {options.seed}, {len(faults)} faults", flush=True)
    started = time.monotonic()
    outcomes: list[Outcome] = []
    system = Deployment()
    try:
        system.start()
        system.adopt()
        from tests.faults.running import run_step_fault
        from tests.faults.storm import Size, run_storm
        from tests.faults.world import World

        with World(system) as world:
            for fault in faults:
                if time.monotonic() - started > options.minutes * 60:
                    late = Outcome(fault.name, fault.victim)
                    late.problems.append(f"no time left of {options.minutes} minutes")
                    outcomes.append(late)
                    continue
                outcomes.append(run_step_fault(world, fault))
                print(_line(outcomes[-1]), flush=True)
            if options.storm is not None:
                outcomes.append(run_storm(world, Size.parse(options.storm), rng))
                print(_line(outcomes[-1]), flush=True)
    finally:
        if options.log is not None and system.log.exists():
            options.log.write_bytes(system.log.read_bytes())
        system.remove()
    print(table(outcomes))
    if options.json is not None:
        write_json(options.json, options.seed, outcomes)
    return 0 if outcomes and all(each.passed for each in outcomes) else 1


def _line(outcome: Outcome) -> str:
    state = "ok" if outcome.passed else f"FAILED {outcome.problems}"
    recovered = outcome.recovered_s
    took = "" if recovered is None else f"{recovered:5.1f} s  "
    return f"{took}{outcome.fault}: {state}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--sample", type=int, default=0, help="so many, at random")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311
    parser.add_argument("--only", default="", help="faults with this in their name")
    parser.add_argument("--minutes", type=float, default=45.0, help="time in all")
    parser.add_argument(
        "--storm", help="NOTIFICATIONS,SUBSCRIBERS,SECONDS: a storm behind the faults"
    )
    parser.add_argument("--json", type=Path, help="write the outcomes to this file")
    parser.add_argument("--log", type=Path, help="keep the log of the system here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
