"""Counters of the relay and their Prometheus collector.

A Prometheus metric takes a lock for every increment; the hot path adds to an attribute
instead, and `RelayCollector` reads it when `/metrics` is requested.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric


@dataclass(slots=True)
class Counts:
    """Counters; the field names are the names of the metrics."""

    connections_opened: int = 0
    connections_refused: int = 0
    connections_throttled: int = 0
    readers_too_slow: int = 0
    frames_received: int = 0
    frames_sent: int = 0
    requests_failed: int = 0
    kept: int = 0
    repeated: int = 0
    ticks: int = 0
    refused_ticks: int = 0
    mailboxes_full: int = 0
    delivered: int = 0
    fetched: int = 0
    acknowledged: int = 0
    pages_read: int = 0
    catch_ups: int = 0
    node_ticks_received: int = 0
    node_ticks_lost: int = 0


DESCRIPTIONS = {
    "kept": "Messages written to the log",
    "repeated": "Publications of a message that was stored already",
    "ticks": "Commits of published messages",
    "refused_ticks": "Ticks that could not be committed in time",
    "delivered": "Messages sent to subscribers",
    "fetched": "Messages returned by fetch",
    "acknowledged": "Deliveries that clients acknowledged",
    "catch_ups": "Times the log was read because another node's tick did not arrive",
}


class RelayCollector:
    """Metrics of the relay: `Counts` as counters, the present state as gauges."""

    def __init__(
        self, counts: Counts, present: Callable[[], Mapping[str, float]]
    ) -> None:
        self._counts = counts
        self._present = present

    def collect(self) -> Iterator[Metric]:
        for field in fields(self._counts):
            name = field.name
            text = DESCRIPTIONS.get(name, name.replace("_", " ").capitalize())
            yield CounterMetricFamily(
                f"relay_{name}", text, value=getattr(self._counts, name)
            )
        for name, value in self._present().items():
            text = name.replace("_", " ").capitalize()
            yield GaugeMetricFamily(f"relay_{name}", text, value=value)
