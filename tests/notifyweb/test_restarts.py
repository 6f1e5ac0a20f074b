"""Programs are restarted, and are down no longer than they were up."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from notifyweb.launcher.console import Console
from notifyweb.launcher.programs import Program
from notifyweb.launcher.restarts import (
    FIRST_PAUSE_S,
    MAX_PAUSE_S,
    STEADY_S,
    Ending,
    Restarts,
)
from notifyweb.launcher.supervisor import Supervisor

OUTSIDE = [
    pytest.param(-signal.SIGKILL, id="killed"),
    pytest.param(-signal.SIGTERM, id="terminated"),
    pytest.param(128 + signal.SIGTERM, id="code of a signal"),
    pytest.param(0, id="ended on request"),
]
OWN = [
    pytest.param(1, id="exit code"),
    pytest.param(-signal.SIGSEGV, id="segmentation fault"),
    pytest.param(128 + signal.SIGABRT, id="code of an abort"),
]


@pytest.mark.parametrize("code", OUTSIDE)
@pytest.mark.parametrize("up_s", [0.1, 0.5, 2.0, 3.0, 9.0, 19.0, 100.0])
def test_after_an_external_cause_the_pause_is_at_most_the_uptime(code, up_s):
    restarts = Restarts()
    for _ in range(30):
        assert restarts.pause_after(Ending(code, up_s)) <= up_s


@pytest.mark.parametrize("code", [1, 2, -signal.SIGSEGV])
@pytest.mark.parametrize("up_s", [3.0, 6.0, 9.0])
def test_a_program_that_was_up_is_not_kept_down_longer(code, up_s):
    """A lost database ends programs with an ordinary exit code."""
    restarts = Restarts()
    for _ in range(30):
        assert restarts.pause_after(Ending(code, up_s)) <= up_s


@pytest.mark.parametrize("code", OWN)
def test_the_pauses_of_a_failing_program_double_up_to_a_limit(code):
    restarts = Restarts()
    pauses = [restarts.pause_after(Ending(code, 0.3)) for _ in range(10)]
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-1] == MAX_PAUSE_S


def test_a_program_that_is_killed_immediately_waits_the_first_pause():
    restarts = Restarts()
    for _ in range(10):
        assert restarts.pause_after(Ending(-signal.SIGKILL, 0.001)) == FIRST_PAUSE_S


def test_after_a_steady_run_the_pauses_start_over():
    restarts = Restarts()
    for _ in range(10):
        restarts.pause_after(Ending(1, 0.3))
    assert restarts.pause_after(Ending(1, STEADY_S)) == FIRST_PAUSE_S


@pytest.fixture
async def supervise():
    supervisors = []

    def start(*arguments):
        supervisor = Supervisor(Program("program", arguments), Console())
        supervisors.append(supervisor)
        supervisor.start()
        return supervisor

    yield start
    for supervisor in supervisors:
        await supervisor.stop(force=asyncio.Event())


async def until_up(supervisor, *, not_pid=None):
    changed = asyncio.Event()
    supervisor.on_change = changed.set
    while supervisor.pid in (None, not_pid):
        changed.clear()
        async with asyncio.timeout(30):
            await changed.wait()
    return supervisor.pid


async def test_a_killed_process_is_down_no_longer_than_it_was_up(supervise):
    supervisor, up_s = supervise("sleep", "60"), 0.5
    pid = await until_up(supervisor)
    downs = []
    for _ in range(6):
        await asyncio.sleep(up_s)
        supervisor.signal(signal.SIGKILL)
        killed_at = time.monotonic()
        pid = await until_up(supervisor, not_pid=pid)
        downs.append(time.monotonic() - killed_at)
    # Without the rule the last pause is 3.2 s. The rest is for a busy machine.
    assert max(downs) < up_s + 1.5


@pytest.mark.parametrize("program", ["false", "/does/not/exist"])
async def test_the_pauses_of_a_process_that_cannot_start_grow(
    supervise, capsys, program
):
    supervise(program)
    shown = ""
    async with asyncio.timeout(30):
        while "starting again in 0.8 s" not in shown:
            await asyncio.sleep(0.05)
            shown += capsys.readouterr().out
    pauses = [line.rsplit(" in ")[1] for line in shown.splitlines()]
    assert pauses[:4] == ["0.1 s", "0.2 s", "0.4 s", "0.8 s"]
