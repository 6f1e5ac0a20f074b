"""``python -m bench [name …] [--seconds N] [--subscribers N --messages N]``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.report import Goal, Report, print_goals

# Each module has ``run(report, seconds)``, which adds its rows to the report in about that
# time and starts the services that it needs (``bench.environment``).
MODULES = {
    "start": "bench.start",
    "pages": "bench.pages",
    "push": "bench.push",
    "sync": "bench.sync",
    "relay": "bench.relay",
    "append": "bench.append",
    "topics": "bench.topics",
    "pipeline": "bench.pipeline",
    "notify": "bench.notify",
    "price": "bench.price",
    "arrive": "bench.arrive",
    "gateways": "bench.gateways",
    "scale": "bench.scale",
}
# Takes minutes and gigabytes.
ON_REQUEST = {"scale"}
DEFAULT_SECONDS = 60


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(MODULES))
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS)
    # Of the run that this one is a part of, which prints the goals of all at its end.
    parser.add_argument("--goals", type=Path, help=argparse.SUPPRESS)
    for name in ("subscribers", "messages"):
        parser.add_argument(f"--{name}", type=int, help="for scale")
    parser.add_argument("--sockets", type=int, help="for push")
    arguments = parser.parse_args()
    for name in ("subscribers", "messages", "sockets"):
        if value := getattr(arguments, name):
            os.environ[f"BENCH_{name.upper()}"] = str(value)
    unknown = set(arguments.names) - set(MODULES)
    if unknown:
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}")
    chosen = arguments.names or [each for each in MODULES if each not in ON_REQUEST]
    if len(chosen) == 1:
        _measure(chosen[0], arguments.seconds, arguments.goals)
        return
    with tempfile.TemporaryDirectory(prefix="notifyweb-bench-") as folder:
        goals = Path(folder) / "goals"
        goals.touch()
        for name in chosen:
            # A process each: settings are read once, and each has its own services.
            seconds = str(arguments.seconds / len(chosen))
            command = [sys.executable, "-m", "bench", name, "--seconds", seconds]
            command += ["--goals", str(goals)]
            subprocess.run(command, check=True)  # noqa: S603 - this program
        print_goals([Goal(**json.loads(line)) for line in goals.open()])


def _measure(name: str, seconds: float, goals: Path | None) -> None:
    report = Report(name)
    importlib.import_module(MODULES[name]).run(report, seconds)
    report.print()
    if goals is not None:
        report.append_goals(goals)
    elif report.goals:
        print_goals(report.goals)


if __name__ == "__main__":
    main()
