"""``python -m bench [name …] [--seconds N]``."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys

from bench.report import Report

# Each module has ``run(report, seconds)``, which adds its rows to the report in about that
# time and starts the services that it needs (``bench.environment``).
MODULES = {
    "start": "bench.start",
    "sync": "bench.sync",
    "relay": "bench.relay",
    "append": "bench.append",
    "topics": "bench.topics",
    "pipeline": "bench.pipeline",
    "notify": "bench.notify",
    "price": "bench.price",
}
DEFAULT_SECONDS = 60


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(MODULES))
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS)
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(MODULES)
    if unknown:
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}")
    chosen = arguments.names or list(MODULES)
    if len(chosen) == 1:
        _measure(chosen[0], arguments.seconds)
        return
    for name in chosen:
        # A process each: settings are read once, and each has its own services.
        seconds = str(arguments.seconds / len(chosen))
        command = [sys.executable, "-m", "bench", name, "--seconds", seconds]
        subprocess.run(command, check=True)  # noqa: S603 - this program


def _measure(name: str, seconds: float) -> None:
    report = Report(name)
    importlib.import_module(MODULES[name]).run(report, seconds)
    report.print()


if __name__ == "__main__":
    main()
