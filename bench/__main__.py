"""``python -m bench [name …] [--seconds N] [--minutes N] [--subscribers N --messages N]``.

Without names everything but ``scale`` is measured, in less than ten minutes: a part that takes
longer than its share is stopped, and what was not measured is listed at the end.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.environment import PREPARED, prepare
from bench.report import Goal, Report, print_goals

# Each module has ``run(report, seconds)``, which adds its rows to the report in about that
# time and starts the services that it needs (``bench.environment``).
MODULES = {
    "start": "bench.start",
    "push": "bench.push",
    "pages": "bench.pages",
    "relay": "bench.relay",
    "notify": "bench.notify",
    "arrive": "bench.arrive",
    "sync": "bench.sync",
    "gateways": "bench.gateways",
    "price": "bench.price",
    "pipeline": "bench.pipeline",
    "topics": "bench.topics",
    "append": "bench.append",
    "nodes": "bench.nodes",
    "scale": "bench.scale",
}
# Takes minutes and gigabytes.
ON_REQUEST = {"scale"}
DEFAULT_SECONDS = 60
# For all parts together, with what each needs to set up.
DEFAULT_MINUTES = 9.5
# A part may take so many times its equal share of the time that is left: on a slow machine
# the first parts would leave nothing to the others.
MAX_SHARES: Final = 3
# A part is not begun for less, and gets as much to stop its services.
MIN_PART_S: Final = 15.0


def main() -> None:
    # Services outlive a process that ends without stopping them.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(MODULES))
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS)
    parser.add_argument("--minutes", type=float, default=DEFAULT_MINUTES)
    # Of the run that this one is a part of, which prints the goals of all at its end.
    parser.add_argument("--goals", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    for name in ("subscribers", "messages"):
        parser.add_argument(f"--{name}", type=int, help="for scale")
    parser.add_argument("--sockets", type=int, help="for push")
    parser.add_argument("--topics", type=int, help="for topics")
    arguments = parser.parse_args()
    for name in ("subscribers", "messages", "sockets", "topics"):
        if value := getattr(arguments, name):
            os.environ[f"BENCH_{name.upper()}"] = str(value)
    if arguments.prepare:
        prepare(arguments.prepare)
        return
    unknown = set(arguments.names) - set(MODULES)
    if unknown:
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}")
    chosen = arguments.names or [each for each in MODULES if each not in ON_REQUEST]
    if len(chosen) == 1:
        _measure(chosen[0], arguments.seconds, arguments.goals)
        return
    if not _measure_all(chosen, arguments.seconds, arguments.minutes * 60):
        sys.exit(1)


def _measure_all(names: list[str], seconds: float, total_s: float) -> bool:
    """Whether everything was measured. Prints the goals of all."""
    end = time.monotonic() + total_s
    missing = []
    with tempfile.TemporaryDirectory(prefix="notifyweb-bench-") as folder:
        goals = Path(folder) / "goals"
        goals.touch()
        prepared = Path(folder) / "data"
        prepared.mkdir()
        # Not here: a process reads its settings once.
        command = [sys.executable, "-m", "bench", "--prepare", str(prepared)]
        subprocess.run(command, check=True)  # noqa: S603 - this program
        os.environ[PREPARED] = str(prepared)
        for place, name in enumerate(names, 1):
            left_s = end - time.monotonic()
            print(f"\n[{place}/{len(names)}] {name}, {left_s:.0f} s left", flush=True)
            problem = "no time was left"
            if left_s > MIN_PART_S:
                part = _Part(name, seconds / len(names), goals)
                share_s = left_s / (len(names) - place + 1)
                problem = part.run(min(left_s - MIN_PART_S, share_s * MAX_SHARES))
            if problem:
                print(f"  not measured: {problem}", flush=True)
                missing.append(f"{name}: {problem}")
        print_goals([Goal(**json.loads(line)) for line in goals.open()])
    for each in missing:
        print(f"  not measured: {each}")
    return not missing


@dataclass(frozen=True, slots=True)
class _Part:
    """A process of its own: settings are read once, and each has its own services."""

    name: str
    seconds: float
    goals: Path

    def run(self, at_most_s: float) -> str:
        """Why it was not measured; empty if it was."""
        command = [sys.executable, "-m", "bench", self.name]
        command += ["--seconds", str(self.seconds), "--goals", str(self.goals)]
        process = subprocess.Popen(command)  # noqa: S603 - this program
        try:
            status = process.wait(at_most_s)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            # It stops the services that it has started.
            process.send_signal(signal.SIGINT)
            try:
                process.wait(MIN_PART_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if isinstance(error, KeyboardInterrupt):
                raise
            return f"it took more than {at_most_s:.0f} s"
        return f"it ended with status {status}" if status else ""


def _measure(name: str, seconds: float, goals: Path | None) -> None:
    report = Report(name)
    try:
        importlib.import_module(MODULES[name]).run(report, seconds)
    except KeyboardInterrupt:
        sys.exit("stopped")
    report.print()
    if goals is not None:
        report.append_goals(goals)
    elif report.goals:
        print_goals(report.goals)


if __name__ == "__main__":
    main()
