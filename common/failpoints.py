"""Named places where a test may end the process, as a power cut would.

``NOTIFYWEB_FAILPOINTS=subscribe.05.after_commit`` (comma separated) arms them; a
deployment in production mode refuses to start with any armed (``notifyweb.checks``).
"""

from __future__ import annotations

import os
import signal

VARIABLE = "NOTIFYWEB_FAILPOINTS"


def armed() -> frozenset[str]:
    names = os.environ.get(VARIABLE, "").split(",")
    return frozenset(name.strip() for name in names if name.strip())


_armed = armed()


def failpoint(name: str) -> None:
    """Kill the process without clean-up if a test armed this name."""
    if name in _armed:
        os.kill(os.getpid(), signal.SIGKILL)
