"""``/healthz``, ``/livez``, ``/readyz`` and ``/metrics``.

``/healthz`` needs only the process. ``/readyz`` checks every component of the system and
lists the missing ones. Neither uses the connection pool of the pages, so that slow requests
do not look like an outage. ``/livez`` does, and fails only when a restart of this process
would help: pages get no database connection although the database accepts others.
"""

from __future__ import annotations

import http.client
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, LiteralString
from urllib.parse import urlsplit

import psycopg
import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from common import clock, heartbeat
from common.connections import shared_redis
from messaging.services import OLDEST_IN_OUTBOX
from notifyweb import metrics as _system_metrics  # noqa: F401  # registers
from notifyweb import startup
from notifyweb.database import probe_arguments

if TYPE_CHECKING:
    from collections.abc import Callable

RELAY_TIMEOUT_S = 1.0
POSTGRES_TIMEOUT_S = 2.0
# Heartbeats come every 5 s from the gateway, every 3 s from beat and every 15 s from the
# canary tasks of the workers. Three may be missed, and beat may wait 12 s for its lock.
MAX_HEARTBEAT_AGE_S = {"gateway": 20.0, "worker": 60.0, "outbound": 60.0, "beat": 45.0}
# A loaded disk commits within a second; a backlog of messages drains at hundreds per second.
WRITE_TIMEOUT_S = 5.0
MAX_DUE_AGE_S = 120.0
# Outcomes of the two are kept for this long.
KEEP_S = 5.0
# Of rows that were never tried, by indexes.
OLDEST_UNTRIED: Final[dict[str, LiteralString]] = {
    "inbox": """
        SELECT min(next_attempt_at) FROM (
            SELECT next_attempt_at FROM messaging_inboxmessage
            WHERE state = 'due' AND attempts = 0 ORDER BY id LIMIT 10000
        ) AS first
    """,
    "outbox": OLDEST_IN_OUTBOX.format(
        column="next_attempt_at", condition="attempts = 0"
    ),
}
OK = 200
UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class Component:
    """``template`` is a short sentence for people, with the place of ``value`` in it.

    Probes get it in English, pages in the reader's language.
    """

    ok: bool
    template: str
    value: object = ""

    @property
    def state(self) -> str:
        return self.template % {"value": self.value}

    @property
    def localized(self) -> str:
        return gettext(self.template) % {"value": self.value}

    def to_value(self) -> dict[str, object]:
        return {"ok": self.ok, "state": self.state}


def _open_to_all(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    guarded = require_safe(never_cache(view))
    # A test checks that every URL declares who may open it.
    guarded.access_rule = "public"  # type: ignore[attr-defined]
    return guarded


@_open_to_all
def healthz(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@_open_to_all
def livez(request: HttpRequest) -> HttpResponse:
    if not _postgres_probe.succeeds():
        return JsonResponse({"status": "ok", "state": "the database is away"})
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        state = "gets no database connection"
        answer = JsonResponse({"status": "fails", "state": state}, status=UNAVAILABLE)
        answer._has_been_logged = True  # type: ignore[attr-defined]
        return answer
    return JsonResponse({"status": "ok", "state": "serves"})


def readiness() -> dict[str, Component]:
    """The state of every component by its name."""
    components = {
        "postgres": _postgres(),
        "redis": _redis(),
        "relay": _relay(),
        **_heartbeats(),
    }
    if components["postgres"].ok:
        components["writes"] = _fault_free(_write_probe.fault)
        components["messages"] = _fault_free(_backlog_probe.fault)
        components["migrations"] = _fault_free(startup.unapplied_migrations)
        components["keychain"] = _fault_free(startup.closed_keychain)
    return components


@_open_to_all
def readyz(request: HttpRequest) -> HttpResponse:
    components = readiness()
    ready = all(component.ok for component in components.values())
    value = {
        "ready": ready,
        "components": {name: found.to_value() for name, found in components.items()},
    }
    headers = {} if ready else {"Retry-After": "2"}
    answer = JsonResponse(value, status=OK if ready else UNAVAILABLE, headers=headers)
    # Polled every few seconds: Django must not log each 503 as an error.
    answer._has_been_logged = True  # type: ignore[attr-defined]
    return answer


@_open_to_all
def metrics(request: HttpRequest) -> HttpResponse:
    return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)


# By path below the root. ``middleware.Probes`` accepts any ``Host`` for them.
PROBES = {
    "healthz": healthz,
    # The path that the WalletConnect reference servers use.
    "health": healthz,
    "livez": livez,
    "readyz": readyz,
    "metrics": metrics,
}


class _PostgresProbe:
    """Runs ``work`` on a connection of its own, at most once at a time.

    A stalled database blocks the attempt in a thread of its own. Later requests wait for
    the same attempt instead of opening one connection each; an outcome is kept for
    ``keep_s``, however often readiness is asked for.
    """

    def __init__(
        self,
        work: Callable[[psycopg.Connection], str],
        *,
        timeout_s: float = POSTGRES_TIMEOUT_S,
        keep_s: float = 0.0,
    ) -> None:
        self._work = work
        self._timeout_s = timeout_s
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._running: Future[str] | None = None
        self._started_at = 0.0

    def fault(self) -> str:
        """What ``work`` found wrong, or that it failed; empty if all is well."""
        with self._lock:
            running = self._running
            now = clock.monotonic()
            if running is None or (
                running.done() and now - self._started_at >= self._keep_s
            ):
                running = self._running = Future()
                self._started_at = now
                threading.Thread(target=self._ask, args=(running,), daemon=True).start()
        try:
            return running.result(self._timeout_s)
        except psycopg.Error as error:
            return str(error).partition("\n")[0] or type(error).__name__
        except TimeoutError:
            return f"no answer within {self._timeout_s:.0f} s"

    def succeeds(self) -> bool:
        return not self.fault()

    def forget(self) -> None:
        """Ask again; for tests."""
        self._running = None

    def _ask(self, outcome: Future[str]) -> None:
        try:
            arguments = probe_arguments(settings.DATABASES["default"])
            with psycopg.connect(**arguments) as own:
                outcome.set_result(self._work(own))
        except Exception as error:  # raised again by ``Future.result``
            outcome.set_exception(error)


def _answer(own: psycopg.Connection) -> str:
    own.execute("SELECT 1")
    return ""


def _write(own: psycopg.Connection) -> str:
    """A commit that reaches the write-ahead log, and a file of 300 KB that is dropped.

    A full disk lets rows be changed where a page has room long after all else fails, so
    changing a row proves little. Neither statement leaves anything behind.
    """
    if own.execute("SHOW transaction_read_only").fetchone() == ("on",):
        return "the database is read-only"
    own.execute("SET work_mem = '64kB'")
    own.execute(
        "SELECT count(*) FROM (SELECT md5(n::text) AS text"
        " FROM generate_series(1, 6000) AS n ORDER BY text) AS spilled"
    )
    own.execute("SELECT pg_logical_emit_message(true, 'notifyweb', 'readyz')")
    return ""


def _find_backlog(own: psycopg.Connection) -> str:
    """Which queue of messages has had a row due for too long.

    Rows that are tried again are left out: what one peer sends must not make the whole
    system look broken. Queues for other servers have limits per owner and may be long.
    """
    own.execute("SET enable_seqscan = off")
    for name, statement in OLDEST_UNTRIED.items():
        row = own.execute(
            f"SELECT extract(epoch FROM now() - ({statement}))::float8"  # noqa: S608
        ).fetchone()
        age = 0.0 if row is None or row[0] is None else row[0]
        if age > MAX_DUE_AGE_S:
            return f"the oldest row of the {name} has been due for {age:.0f} s"
    return ""


_postgres_probe = _PostgresProbe(_answer)
_write_probe = _PostgresProbe(_write, timeout_s=WRITE_TIMEOUT_S, keep_s=KEEP_S)
_backlog_probe = _PostgresProbe(_find_backlog, timeout_s=WRITE_TIMEOUT_S, keep_s=KEEP_S)


def postgres_answers() -> bool:
    return _postgres_probe.succeeds()


def _postgres() -> Component:
    if postgres_answers():
        return Component(ok=True, template=_("answers"))
    return Component(ok=False, template=_("does not answer"))


def _redis() -> Component:
    try:
        shared_redis().ping()
    except redis.RedisError:
        return Component(ok=False, template=_("does not answer"))
    return Component(ok=True, template=_("answers"))


def _relay() -> Component:
    if not settings.EMBEDDED_RELAY:
        return Component(ok=True, template=_("another relay; see gateway"))
    parts = urlsplit(settings.RELAY_URL)
    connection = http.client.HTTPConnection(
        parts.hostname or "127.0.0.1", parts.port, timeout=RELAY_TIMEOUT_S
    )
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return Component(ok=False, template=_("does not answer"))
    finally:
        connection.close()
    return Component(status == OK, _("answers %(value)s"), status)


def _heartbeats() -> dict[str, Component]:
    try:
        ages = heartbeat.ages(list(MAX_HEARTBEAT_AGE_S))
    except redis.RedisError:
        unknown = Component(ok=False, template=_("unknown while Redis is away"))
        return dict.fromkeys(MAX_HEARTBEAT_AGE_S, unknown)
    found = {}
    for name, max_age_s in MAX_HEARTBEAT_AGE_S.items():
        age = ages[name]
        if age is None:
            found[name] = Component(ok=False, template=_("no heartbeat yet"))
        else:
            found[name] = Component(
                age <= max_age_s, _("last heartbeat %(value)s s ago"), round(age)
            )
    return found


def _fault_free(find_fault: Callable[[], str]) -> Component:
    fault = find_fault()
    if not fault:
        return Component(ok=True, template=_("in order"))
    return Component(ok=False, template="%(value)s", value=fault)
