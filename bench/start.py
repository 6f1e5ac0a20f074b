"""Start of the whole system: with processes forked from one that loaded the code, and without.

A start is ``manage.py run`` on a prepared data directory until ``/readyz`` is 200. Memory is
the proportional set size: pages that several processes share count once.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import psutil

from bench.environment import BASE, free_port, wait_for_port

if TYPE_CHECKING:
    from bench.report import Report

# As ``manage.py run`` on a system without ``fork``.
WITHOUT = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "notifyweb.settings"
from notifyweb.launcher import system
system.can_fork = lambda: False
sys.exit(system.run())
"""
READY_S = 120
START_S = 10.0


def run(report: Report, seconds: float) -> None:
    programs = {"forked": ["manage.py", "run"], "each loads": ["-c", WITHOUT]}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory(prefix="notifyweb-bench-") as folder:
        _start(folder, programs["forked"])
        for _ in range(max(1, round(seconds / START_S / len(programs)))):
            for name, arguments in programs.items():
                found[name].append(_start(folder, arguments))
    for name, starts in found.items():
        wall, cpu, memory = (min(figures) for figures in zip(*starts, strict=True))
        report.add(f"{name}: until ready", f"{wall:.1f} s", cpu=f"{cpu:.1f} s CPU")
        report.add(f"{name}: memory of Python", f"{memory / 2**20:,.0f} MiB")
    report.compare(
        "start, everything prepared: CPU until ready",
        min(cpu for _, cpu, _ in found["forked"]),
        "1 s",
        goal="<= 4",
    )
    report.note("The least of all starts, because other work only adds to it.")


def _start(folder: str, arguments: list[str]) -> tuple[float, float, float]:
    """Seconds until ready, CPU seconds until then, bytes of all Python processes."""
    port = free_port()
    environment = {
        **os.environ,
        "NOTIFYWEB_DATA_DIR": folder,
        "NOTIFYWEB_PORT": str(port),
        "NOTIFYWEB_RELAY_PORT": str(free_port()),
        # Part of what decides whether the data directory must be prepared again.
        "NOTIFYWEB_PUBLIC_URL": "http://localhost:8000",
    }
    started = time.monotonic()
    launcher = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, *arguments],
        cwd=BASE,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port)
        _wait_until_ready(port)
        wall = time.monotonic() - started
        tree = [psutil.Process(launcher.pid)]
        tree += tree[0].children(recursive=True)
        python = [each for each in tree if _is_python(each)]
        # Processes that ended are in the times of their parents.
        cpu = sum(
            times.user + times.system + times.children_user + times.children_system
            for times in (each.cpu_times() for each in python)
        )
        memory = float(sum(each.memory_full_info().pss for each in python))
    finally:
        launcher.send_signal(signal.SIGTERM)
        launcher.wait()
    return wall, cpu, memory


def _is_python(process: psutil.Process) -> bool:
    return "python" in process.name() or "python" in " ".join(process.cmdline()[:1])


def _wait_until_ready(port: int) -> None:
    give_up_at = time.monotonic() + READY_S
    while time.monotonic() < give_up_at:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == http.client.OK:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise SystemExit("the system did not become ready")
