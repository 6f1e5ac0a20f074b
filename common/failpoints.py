"""Named places where a test may end or hold the process, as a power cut or a hang would.

``NOTIFYWEB_FAILPOINTS=subscribe.05.after_commit`` (comma separated) arms them for the life of
a process. ``NOTIFYWEB_FAILPOINT_FOLDER`` is for systems that run: a file of that name in the
folder arms the failpoint once, in whichever process takes it first. The file contains

* ``kill``: the process ends without clean-up;
* ``hold``: the process stands still until the file ``<name>.reached`` is removed, so that a
  test can kill another process at exactly this moment;
* ``full``: the disk is full (``OSError`` with ``ENOSPC``).

The file ``clock`` contains by how many seconds ``common.clock`` is wrong in all processes.

``name:detail`` arms a failpoint only where ``detail`` is among the details of the call, such
as the tags of the messages at hand. A deployment in production mode refuses to start with
either variable (``notifyweb.checks``).
"""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

VARIABLE: Final = "NOTIFYWEB_FAILPOINTS"
FOLDER_VARIABLE: Final = "NOTIFYWEB_FAILPOINT_FOLDER"
REACHED: Final = ".reached"
CLOCK: Final = "clock"
POLL_S: Final = 0.02
# A test that died must not leave a process standing.
MAX_HOLD_S: Final = 120.0


def armed() -> frozenset[str]:
    names = os.environ.get(VARIABLE, "").split(",")
    return frozenset(name.strip() for name in names if name.strip())


_armed = armed()
_folder = os.environ.get(FOLDER_VARIABLE, "").strip()


# Whether tests may change the course of this process while it runs.
is_steerable: Final = bool(_folder)


def clock_step_s() -> float:
    """By how many seconds a test has stepped the clock of the system."""
    try:
        return float((Path(_folder) / CLOCK).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0.0


def failpoint(name: str, details: Iterable[object] = ()) -> None:
    """Kill, hold or fail here if a test armed this name. ``details`` are read only then."""
    if name in _armed:
        os.kill(os.getpid(), signal.SIGKILL)
    if _folder:
        _take(Path(_folder), name, details)


def _take(folder: Path, name: str, details: Iterable[object]) -> None:
    for wanted in [name, *(f"{name}:{detail}" for detail in details)]:
        reached = folder / f"{wanted}{REACHED}"
        try:
            # Only one process succeeds.
            (folder / wanted).rename(reached)
        except OSError:
            continue
        action = reached.read_text(encoding="ascii").strip()
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        give_up_at = time.monotonic() + MAX_HOLD_S
        while reached.exists() and time.monotonic() < give_up_at:
            time.sleep(POLL_S)
