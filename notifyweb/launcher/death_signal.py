"""Makes children end with their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def set_pdeathsig(parent: int, *, number: int = signal.SIGTERM) -> None:
    """Have the kernel send signal ``number`` when ``parent`` ends (Linux only).

    A change of user clears the setting, so call it after that change.
    """
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)
