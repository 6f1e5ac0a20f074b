"""The one clock. Everything that needs the time takes it from here.

Stored times are UTC; durations use the monotonic clock, which never jumps back.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from common import failpoints

if TYPE_CHECKING:
    from collections.abc import Iterator

_frozen_at: ContextVar[datetime | None] = ContextVar("frozen_at", default=None)


def now() -> datetime:
    at = _frozen_at.get()
    if at is None:
        at = datetime.now(UTC)
        if failpoints.is_steerable:
            at += timedelta(seconds=failpoints.clock_step_s())
    return at


def now_ms() -> int:
    at = _frozen_at.get()
    if at is None:
        if not failpoints.is_steerable:
            return time.time_ns() // 1_000_000
        at = now()
    return round(at.timestamp() * 1000)


def now_s() -> int:
    return now_ms() // 1000


def monotonic() -> float:
    return time.monotonic()


@contextmanager
def frozen(at: datetime) -> Iterator[None]:
    """Hold the clock at ``at``; for tests. Nests; other threads keep real time."""
    token = _frozen_at.set(at)
    try:
        yield
    finally:
        _frozen_at.reset(token)


class _PayloadIds:
    """JSON-RPC ids as the published clients make them: milliseconds, then a count.

    The clients add three random digits; a count keeps ids strictly increasing, so
    that two writes within one millisecond still have an order for the Sync API.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> int:
        with self._lock:
            self._last = max(now_ms() * 1000, self._last + 1)
            return self._last


_payload_ids = _PayloadIds()


def payload_id() -> int:
    """A JSON-RPC id: strictly increasing within the process, below 2**53."""
    return _payload_ids.next()
