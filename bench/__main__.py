"""``python -m bench [name …] [--seconds N]``."""

from __future__ import annotations

import argparse
import importlib

from bench.report import Report

# Each module has ``run(report, seconds)``: it adds to the report what it measured, in
# about that time. A module that needs services starts them (`bench.surroundings`).
MODULES = {
    "sync": "bench.sync",
    "relay": "bench.relay",
    "pipeline": "bench.pipeline",
    "notify": "bench.notify",
}
DEFAULT_SECONDS = 30


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(MODULES))
    parser.add_argument("--seconds", type=float, default=DEFAULT_SECONDS)
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(MODULES)
    if unknown:
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}")
    chosen = arguments.names or list(MODULES)
    for name in chosen:
        report = Report(name)
        measured = importlib.import_module(MODULES[name])
        measured.run(report, arguments.seconds / len(chosen))
        report.print()


if __name__ == "__main__":
    main()
