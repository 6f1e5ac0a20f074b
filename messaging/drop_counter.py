"""Counts dropped messages and logs at most one line per second.

Anyone may publish garbage on our topics; it must not fill the log as well.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

from common import clock

if TYPE_CHECKING:
    import logging

QUIET_S: Final = 1.0


class DropCounter:
    """Counts by reason between two log lines. Thread-safe."""

    def __init__(self, logger: logging.Logger, text: str) -> None:
        self._logger = logger
        self._text = text
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._quiet_until = 0.0

    def count(self, reason: str, number: int = 1) -> None:
        with self._lock:
            self._counts[reason] += number
        self.flush()

    def flush(self) -> None:
        """Log the counts, unless a line was logged within ``QUIET_S``."""
        with self._lock:
            now = clock.monotonic()
            if not self._counts or now < self._quiet_until:
                return
            counts, self._counts = self._counts, Counter()
            self._quiet_until = now + QUIET_S
        parts = [f"{number} x {reason}" for reason, number in counts.most_common()]
        self._logger.info("%s: %s", self._text, ", ".join(parts))
