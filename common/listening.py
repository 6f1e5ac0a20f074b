"""A listening socket that outlives the process behind it.

Whoever starts us may hold the port open and hand the socket over: our launcher
(``NOTIFYWEB_LISTEN_FD``) or systemd (``LISTEN_FDS``, socket activation). While the process
is started again, a client that connects waits in the queue instead of being refused. That
matters: the released cores 2.10 and 2.12 try once after they lost their relay, and when that
one try is refused they stay away for good (docs/interop.md).
"""

from __future__ import annotations

import os
import socket

VARIABLE = "NOTIFYWEB_LISTEN_FD"
SYSTEMD_COUNT = "LISTEN_FDS"
SYSTEMD_PID = "LISTEN_PID"
SYSTEMD_FIRST = 3


def inherited_socket() -> socket.socket | None:
    """The socket that was handed to this process, if any."""
    number = _inherited_fd()
    return None if number is None else socket.socket(fileno=number)


def _inherited_fd() -> int | None:
    if own := os.environ.get(VARIABLE):
        return int(own)
    is_for_us = os.environ.get(SYSTEMD_PID) == str(os.getpid())
    return SYSTEMD_FIRST if is_for_us and os.environ.get(SYSTEMD_COUNT) == "1" else None
