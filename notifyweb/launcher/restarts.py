"""How long a program stays down before it is started again.

The pauses double, so that a program that cannot start costs little. An end that was
caused from outside (a signal, a lost database) must not be made worse by them: the
program is never kept down longer than it was up before.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 10.0
STEADY_S = 20.0
# A program that ends by itself before this has failed to start.
MAX_START_S = 3.0
SIGNALS_OF_FAULTS = {
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGSYS,
    signal.SIGTRAP,
}
# What programs add to the number of the signal that they ended for.
SIGNAL_CODES = 128


@dataclass(frozen=True, slots=True)
class Ending:
    """The exit code as Python gives it (negative: a signal), and the time from start
    to end. ``reason`` is there when the program could not be started at all."""

    code: int = 0
    up_s: float = 0.0
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return f"cannot be started: {self.reason}"
        if self.code < 0:
            return f"killed by signal {-self.code}"
        return f"ended with code {self.code}"

    @property
    def failed_to_start(self) -> bool:
        if self.reason:
            return True
        if self.up_s >= MAX_START_S or self.code == 0:
            return False
        number = -self.code if self.code < 0 else self.code - SIGNAL_CODES
        return number <= 0 or number in SIGNALS_OF_FAULTS


class Restarts:
    """The pauses of one program."""

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S

    def pause_after(self, ending: Ending) -> float:
        if ending.up_s >= STEADY_S:
            self._next_s = FIRST_PAUSE_S
        pause = self._next_s
        self._next_s = min(pause * 2, MAX_PAUSE_S)
        if ending.failed_to_start:
            return pause
        # The first pause is the least: a program that is killed at once, again and
        # again, must not take up the machine.
        return min(pause, max(ending.up_s, FIRST_PAUSE_S))
