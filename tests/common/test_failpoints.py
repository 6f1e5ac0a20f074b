"""Failpoints: armed by name, they end the process where it stands; else they rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.system import BASE

SCRIPT = """
from common.failpoints import failpoint
failpoint("subscribe.05.after_commit")
print("went on")
"""


def run(armed):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=BASE,
        env={**os.environ, "NOTIFYWEB_FAILPOINTS": armed},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_armed_failpoint_kills():
    done = run("other, subscribe.05.after_commit")
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == ""


def test_an_unarmed_failpoint_does_nothing():
    assert run("subscribe.05").stdout == "went on\n"
    assert run("").stdout == "went on\n"
