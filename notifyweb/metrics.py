"""Metrics of the web process's ``/metrics``; ``docs/metrics.md`` lists every one.

Counters of workers are shared through Redis and queues are read from the database, so any
web process reports them for the whole system. Aggregate them with ``max``, and what a
process counts itself (requests, sockets, pool) with ``sum``.
"""

from __future__ import annotations

import time
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import redis
from django.db import DatabaseError, connection
from prometheus_client import (
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from common import counters, heartbeat, histograms
from common.task_runs import task_runs
from notifyweb import request_costs
from notifyweb.task_queues import ROUTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from django.http import HttpRequest, HttpResponse
    from prometheus_client.metrics_core import Metric

    Application = Callable[[Any, Any, Any], Awaitable[None]]

# A second series for each counter, which Prometheus does not need.
disable_created_metrics()  # type: ignore[no-untyped-call]

PREFIX = "notifyweb_"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Polled by programs all day; they would drown the requests of people and dapps.
PROBES = frozenset({"healthz", "health", "livez", "readyz", "metrics"})

REQUESTS = Counter(
    f"{PREFIX}requests", "Requests by method and status class", ["method", "status"]
)
REQUEST_SECONDS = Histogram(
    f"{PREFIX}request_seconds",
    "Time from a request's start to its response",
    ["route", "method"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
# Values of the label ``route``, by namespace of the URL; others are "other".
ROUTES_BY_NAMESPACE = {
    "dashboard": "pages",
    "castserver": "cast",
    "identity": "keys",
    "history": "history",
    "operations": "operations",
    "admin": "admin",
}
SOCKETS = Gauge(f"{PREFIX}browser_sockets", "Open WebSockets of browsers")
SOCKETS_OPENED = Counter(f"{PREFIX}browser_sockets_opened", "WebSockets of browsers")

# Counters that ``common.counters`` shares: name, label, what they count.
SHARED = {
    "notifications": ("stage", "Notifications by stage: accepted, sent, received"),
    "notify_failures": ("reason", "Accounts that a notify call could not serve"),
    "webhook_attempts": ("outcome", "Calls of webhooks: delivered, failed"),
    "pushes": ("outcome", "Messages to push services: accepted, gone, failed"),
    "forwards": ("outcome", "Forwarded notifications: accepted, failed"),
    "lease_expiries": ("queue", "Rows taken over from a worker that did not finish"),
}
# Histograms that ``common.histograms`` shares: label, what they measure.
SHARED_DURATIONS = {
    "notification": ("stage", "From the stage before: accepted, sent, received, read"),
    "outbox": ("party", "From the outbox to the relay's acknowledgement"),
    "applied": ("kind", "From a message's publication until its effects are stored"),
    "attempt": ("kind", "Calls of webhooks, push services and forwards"),
}


class RequestMetrics:
    """Middleware: counts responses and measures how long they took."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        response = self._get_response(request)
        if request.path_info.strip("/") not in PROBES:
            method = request.method if request.method in METHODS else "other"
            REQUESTS.labels(method, f"{response.status_code // 100}xx").inc()
            seconds = time.perf_counter() - started
            REQUEST_SECONDS.labels(route_of(request), method).observe(seconds)
        return response


def route_of(request: HttpRequest) -> str:
    """The kind of page or API that a request is for."""
    match = request.resolver_match
    if match is None:
        return "other"
    if request_costs.cost_of(match) == request_costs.DOCUMENT:
        return "documents"
    return ROUTES_BY_NAMESPACE.get(match.namespace, "other")


class SocketMetrics:
    """ASGI middleware: counts the WebSockets of browsers."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        SOCKETS_OPENED.inc()
        with SOCKETS.track_inprogress():
            await self._application(scope, receive, send)


class SystemCollector:
    """Reads Redis and the database when ``/metrics`` is requested."""

    def describe(self) -> Iterable[Metric]:
        # Without it, registering would collect: nothing is connected yet.
        return ()

    def collect(self) -> Iterator[Metric]:
        from notifyweb.health import postgres_answers

        yield from self._redis()
        # Before the queries, which wait for a connection if the pool is used up.
        yield from self._pool()
        up = postgres_answers()
        yield _gauge("database_up", "1 if PostgreSQL answers", float(up))
        if up:
            try:
                yield from self._queues()
                yield from self._database()
            except DatabaseError:
                # Between the probe and the queries; the next scrape sees it.
                return

    def _redis(self) -> Iterator[Metric]:
        from notifyweb.health import MAX_HEARTBEAT_AGE_S

        try:
            totals = counters.totals()
            durations = histograms.totals()
            runs = task_runs(sorted(ROUTES))
            ages = heartbeat.ages(list(MAX_HEARTBEAT_AGE_S))
        except redis.RedisError:
            yield _gauge("redis_up", "1 if Redis answers", 0.0)
            return
        yield _gauge("redis_up", "1 if Redis answers", 1.0)
        for name, (label, text) in SHARED.items():
            family = CounterMetricFamily(PREFIX + name, text, labels=[label])
            for (counter, value), number in totals.items():
                if counter == name:
                    family.add_metric([value], number)
            yield family
        for name, (label, text) in SHARED_DURATIONS.items():
            yield _shared_histogram(
                name,
                text,
                label,
                {value: h for (key, value), h in durations.items() if key == name},
            )
        beats = _family("heartbeat_age_seconds", "Since the last heartbeat", "process")
        for process, age in ages.items():
            # A heartbeat that expired is as old as its key lived.
            seconds = heartbeat.LIFETIME_S if age is None else age
            beats.add_metric([process], seconds)
        yield beats
        for name, text, field, unit in (
            ("task_runs", "Runs of a task", "runs", 1),
            ("task_failures", "Runs that ended with an error", "failures", 1),
            ("task_seconds", "Time in a task", "total_milliseconds", 1000),
        ):
            family = CounterMetricFamily(PREFIX + name, text, labels=["task"])
            for task, run in runs.items():
                if run.runs:
                    family.add_metric([task], getattr(run, field) / unit)
            yield family

    def _queues(self) -> Iterator[Metric]:
        from notifyweb.operations.queues import depths

        due = _family("queue_due", "Due rows, at most 10,001", "queue")
        oldest = _family(
            "queue_oldest_due_seconds", "How long the oldest due row waits", "queue"
        )
        working = _family("queue_working", "Rows that a worker holds", "queue")
        waiting = _family("queue_waiting", "Rows that are due later", "queue")
        failed = _family("queue_failed", "Rows whose attempts are over", "queue")
        for found in depths():
            labels = [found.queue.name]
            due.add_metric(labels, found.due)
            oldest.add_metric(labels, found.oldest_age_s)
            working.add_metric(labels, found.working)
            waiting.add_metric(labels, found.waiting)
            failed.add_metric(labels, found.dead)
        yield from (due, oldest, working, waiting, failed)

    def _database(self) -> Iterator[Metric]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_database_size(current_database()),"
                " current_setting('max_connections')::int, count(*)"
                " FROM pg_stat_activity WHERE backend_type = 'client backend'"
            )
            size, highest, used = cursor.fetchone()
        yield _gauge("database_bytes", "Size of the database", size)
        yield _gauge("database_connections", "Connections to PostgreSQL", used)
        yield _gauge("database_connections_max", "Its max_connections", highest)

    def _pool(self) -> Iterator[Metric]:
        pool = connection.pool  # type: ignore[attr-defined]  # of PostgreSQL only
        stats = pool.get_stats() if pool else {}
        size, free = stats.get("pool_size", 0), stats.get("pool_available", 0)
        yield _gauge("pool_connections", "Connections in this process's pool", size)
        yield _gauge("pool_in_use", "of them in use", size - free)
        waiting = stats.get("requests_waiting", 0)
        yield _gauge("pool_waiting", "Threads that wait for one", waiting)
        family = CounterMetricFamily(
            f"{PREFIX}pool_timeouts", "Threads that waited in vain"
        )
        family.add_metric([], stats.get("requests_errors", 0))
        yield family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def _family(name: str, text: str, label: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, labels=[label])


def _shared_histogram(
    name: str, text: str, label: str, found: Mapping[str, histograms.Histogram]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(f"{PREFIX}{name}_seconds", text, labels=[label])
    bounds = [*map(str, histograms.BOUNDS), "+Inf"]
    for value, histogram in found.items():
        cumulated = accumulate(histogram.counts)
        buckets = list(zip(bounds, cumulated, strict=True))
        family.add_metric([value], buckets, histogram.sum_s)
    return family


REGISTRY.register(SystemCollector())
