"""How long a program stays down before it is started again.

The pauses double, so that a program that fails to start costs little. An exit with an
external cause (a signal, a lost database) must not become a long outage: the program is
never down longer than it was up before.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 10.0
STEADY_S = 20.0
# A program that exits earlier by itself has failed to start.
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
# Added to a signal's number by programs that exit because of it.
SIGNAL_CODES = 128


@dataclass(frozen=True, slots=True)
class Ending:
    """The exit code (negative: a signal), and the time from start to exit.

    ``reason`` is set when the program could not be started at all.
    """

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
    """Computes the pauses of one program."""

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S

    def pause_after(self, ending: Ending) -> float:
        if ending.up_s >= STEADY_S:
            self._next_s = FIRST_PAUSE_S
        pause = self._next_s
        self._next_s = min(pause * 2, MAX_PAUSE_S)
        if ending.failed_to_start:
            return pause
        # At least the first pause: a program that is killed immediately, over and over,
        # must not use up the CPU.
        return min(pause, max(ending.up_s, FIRST_PAUSE_S))
