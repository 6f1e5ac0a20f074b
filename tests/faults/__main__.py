"""``python -m tests.faults``: break a running system in every way of the tables."""

from __future__ import annotations

import argparse
import random
import re
import signal
import sys
import time
from pathlib import Path

from tests.faults.deployment import Deployment
from tests.faults.numbered import NUMBERED, Numbered, run_numbered
from tests.faults.outcome import Outcome, table, write_json
from tests.faults.running import run_step_fault
from tests.faults.steps import STEP_FAULTS
from tests.faults.storm import Size, run_storm
from tests.faults.world import World


def main() -> int:
    options = _options()
    # The system is ended by the finally clause below.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rng = random.Random(options.seed)  # noqa: S311  # a choice of tests
    faults = [
        each for each in [*STEP_FAULTS, *NUMBERED] if re.search(options.only, each.name)
    ]
    if options.sample:
        faults = rng.sample(
            [
                each
                for each in faults
                if not isinstance(each, Numbered) or each.is_short
            ],
            options.sample,
        )
    print(f"seed {options.seed}, {len(faults)} faults", flush=True)
    started = time.monotonic()
    outcomes: list[Outcome] = []

    def record(outcome: Outcome) -> None:
        outcomes.append(outcome)
        print(_line(outcome), flush=True)

    system = Deployment()
    try:
        if any(fault.victim == "disk" for fault in faults):
            system.use_small_disk()
        system.start()
        system.adopt()
        with World(system) as world:
            for fault in faults:
                if time.monotonic() - started > options.minutes * 60:
                    late = Outcome(fault.name, fault.victim)
                    late.problems.append(f"no time left of {options.minutes} minutes")
                    record(late)
                elif isinstance(fault, Numbered):
                    record(run_numbered(world, fault))
                else:
                    record(run_step_fault(world, fault))
            if options.storm is not None:
                record(run_storm(world, Size.parse(options.storm), rng))
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
    parser.add_argument("--only", default="", help="a pattern for names of faults")
    parser.add_argument("--minutes", type=float, default=45.0, help="time in all")
    parser.add_argument(
        "--storm", help="NOTIFICATIONS,SUBSCRIBERS,SECONDS: a storm behind the faults"
    )
    parser.add_argument("--json", type=Path, help="write the outcomes to this file")
    parser.add_argument("--log", type=Path, help="keep the log of the system here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
