"""Listening: how many files a server may open, and a socket that outlives its process.

Our launcher (``NOTIFYWEB_LISTEN_FD``) or systemd (``LISTEN_FDS``, socket activation) holds
the port open and passes the socket on. While the process restarts, clients that connect wait
in the queue instead of being refused. That matters: the released cores 2.10 and 2.12 try to
reconnect once, and never again if that try is refused (docs/interop.md).
"""

from __future__ import annotations

import os
import resource
import socket

VARIABLE = "NOTIFYWEB_LISTEN_FD"
SYSTEMD_COUNT = "LISTEN_FDS"
SYSTEMD_PID = "LISTEN_PID"
SYSTEMD_FIRST = 3


def inherited_socket() -> socket.socket | None:
    """The socket that was passed to this process, if any."""
    if own := os.environ.get(VARIABLE):
        return socket.socket(fileno=int(own))
    is_for_us = os.environ.get(SYSTEMD_PID) == str(os.getpid())
    if is_for_us and os.environ.get(SYSTEMD_COUNT) == "1":
        return socket.socket(fileno=SYSTEMD_FIRST)
    return None


def raise_file_limit() -> None:
    """Every connection is an open file; the usual soft limit of 1,024 is too low."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
