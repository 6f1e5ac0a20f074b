"""Histograms of durations that all processes and machines share, for ``/metrics``.

One hash in Redis, ``histograms``, with fields ``name:label:index of the bucket`` and
``name:label:sum``, the sum in microseconds. A batch of durations takes one round trip,
after commit, and at most one field per bucket. Losing Redis starts them at zero, which
Prometheus takes for a restart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.db import transaction

from common import counters
from common.connections import shared_redis

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KEY: Final = "histograms"
MICROSECONDS: Final = 1_000_000
# Upper bounds in seconds, the same for all: from a call on this machine to a notification
# that is read on the next day. A last bucket, without a bound, follows them.
BOUNDS: Final = (
    0.005,
    0.025,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1_800.0,
    7_200.0,
    86_400.0,
)
SUM: Final = "sum"


@dataclass(frozen=True, slots=True)
class Histogram:
    """``counts`` has the durations in each bucket, not cumulated; the last has no bound."""

    counts: tuple[int, ...]
    sum_s: float


def observe(name: str, by_label: Mapping[str, Iterable[float]]) -> None:
    """Add durations in seconds to the histogram ``name``, once this transaction is committed.

    Labels come from a fixed set of ours, never from a peer.
    """
    added = tally(name, by_label)
    transaction.on_commit(lambda: save(added), robust=True)


def tally(name: str, by_label: Mapping[str, Iterable[float]]) -> Counter[str]:
    """What the durations add to the fields of the hash; ``Counter``s can be summed.

    A negative duration, which the clocks of two machines may yield, counts as zero.
    """
    added: Counter[str] = Counter()
    for label, durations in by_label.items():
        positive = [max(0.0, duration) for duration in durations]
        for bucket, count in Counter(
            bisect_left(BOUNDS, duration) for duration in positive
        ).items():
            added[f"{name}:{label}:{bucket}"] += count
        if positive:
            added[f"{name}:{label}:{SUM}"] += round(sum(positive) * MICROSECONDS)
    return added


def save(added: Counter[str]) -> None:
    """Add to the shared histograms. Durations are lost while Redis does not answer."""
    counters.add(KEY, added)


def totals() -> dict[tuple[str, str], Histogram]:
    """Every histogram by name and label. Raises ``RedisError``."""
    found: dict[Any, Any] = shared_redis().hgetall(KEY)
    counts: dict[tuple[str, str], list[int]] = {}
    sums: dict[tuple[str, str], int] = {}
    for field, value in found.items():
        name, label, part = field.decode().split(":")
        if part == SUM:
            sums[name, label] = int(value)
        elif int(part) <= len(BOUNDS):
            # A version with more buckets may have written others.
            buckets = counts.setdefault((name, label), [0] * (len(BOUNDS) + 1))
            buckets[int(part)] = int(value)
    return {
        key: Histogram(tuple(buckets), sums.get(key, 0) / MICROSECONDS)
        for key, buckets in counts.items()
    }
