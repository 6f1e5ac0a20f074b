"""The real web server as a process of its own, on the database of the test."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys

from django.conf import settings
from django.db import connection

from common.listening import VARIABLE
from keychain.services import ensure_canary
from tests.system import BASE


@contextlib.contextmanager
def web_process(**environment: str):
    """On ``::1``; yields the port and the process."""
    ensure_canary()
    with socket.socket(socket.AF_INET6) as listening:
        listening.bind(("::1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.notifyweb.slow", str(port)],
            cwd=BASE,
            env=os.environ
            | {
                "SLOW_DATABASE": connection.settings_dict["NAME"],
                "SLOW_REDIS_URL": settings.REDIS_URL,
                VARIABLE: str(listening.fileno()),
            }
            | environment,
            pass_fds=[listening.fileno()],
        )
    try:
        yield port, process
    finally:
        process.terminate()
        process.wait(30)
