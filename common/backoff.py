"""How long to wait before the next attempt, everywhere that something is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from common import entropy


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after the n-th failed attempt; after the last one it is over.

    Doubles from ``first_s`` to ``max_s``. ``steps_s`` names each wait instead. Jitter of
    a fifth keeps rows that failed together from coming back together.
    """

    first_s: float = 5.0
    max_s: float = 3_600.0
    max_attempts: int = 1_000_000
    steps_s: tuple[float, ...] = ()

    def is_over(self, attempts: int) -> bool:
        last = len(self.steps_s) + 1 if self.steps_s else self.max_attempts
        return attempts >= last

    def delay(self, attempts: int) -> timedelta:
        if self.steps_s:
            seconds = self.steps_s[min(max(attempts, 1), len(self.steps_s)) - 1]
        else:
            seconds = min(self.first_s * 2 ** min(max(attempts - 1, 0), 30), self.max_s)
        return timedelta(seconds=entropy.jitter(seconds))
