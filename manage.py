#!/usr/bin/env python
"""The command line of the project: ``run``, ``migrate``, ``demo`` and the rest."""

from __future__ import annotations

import os
import sys

MIN_PYTHON_VERSION = (3, 11)


def main() -> int:
    if sys.version_info < MIN_PYTHON_VERSION:
        found = ".".join(str(part) for part in sys.version_info[:3])
        print(
            f"notifyweb needs Python 3.11 or later; this is {found}.", file=sys.stderr
        )
        return 2
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notifyweb.settings")
    from notifyweb.command_line import run_command

    return run_command(sys.argv)


if __name__ == "__main__":
    sys.exit(main())
