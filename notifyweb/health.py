"""Is it alive, is it ready, how much does it do: ``/healthz /readyz /metrics``.

``/healthz`` asks nothing of anybody: the process answers. ``/readyz`` looks at each
component the whole system needs and says in plain words what is missing.
"""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from groundwork import heartbeat
from groundwork.connections import shared_redis
from notifyweb import startup

if TYPE_CHECKING:
    from collections.abc import Callable

RELAY_TIMEOUT_S = 1.0
# Three missed signs: the gateway beats every five seconds, the others every fifteen.
OLDEST_SIGN_S = {"gateway": 20.0, "worker": 60.0, "beat": 45.0}
OK = 200
UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class Component:
    """``state`` is a short sentence for people."""

    ok: bool
    state: str

    def to_value(self) -> dict[str, object]:
        return {"ok": self.ok, "state": self.state}


def _open_to_all(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    guarded = require_safe(never_cache(view))
    # What a test asks of every address: who may open it.
    guarded.access_rule = "public"  # type: ignore[attr-defined]
    return guarded


@_open_to_all
def healthz(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@_open_to_all
def readyz(request: HttpRequest) -> HttpResponse:
    components = {
        "postgres": _postgres(),
        "redis": _redis(),
        "relay": _relay(),
        **_signs_of_life(),
    }
    if components["postgres"].ok:
        components["migrations"] = _told(startup.unapplied_migrations)
        components["keychain"] = _told(startup.closed_keychain)
    ready = all(component.ok for component in components.values())
    value = {
        "ready": ready,
        "components": {name: found.to_value() for name, found in components.items()},
    }
    headers = {} if ready else {"Retry-After": "2"}
    answer = JsonResponse(value, status=OK if ready else UNAVAILABLE, headers=headers)
    # Not being ready is an answer, no incident: Django need not log it.
    answer._has_been_logged = True  # type: ignore[attr-defined]
    return answer


@_open_to_all
def metrics(request: HttpRequest) -> HttpResponse:
    return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)


def _postgres() -> Component:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return Component(ok=False, state="does not answer")
    return Component(ok=True, state="answers")


def _redis() -> Component:
    try:
        shared_redis().ping()
    except redis.RedisError:
        return Component(ok=False, state="does not answer")
    return Component(ok=True, state="answers")


def _relay() -> Component:
    if not settings.EMBEDDED_RELAY:
        return Component(ok=True, state="another relay; see gateway")
    parts = urlsplit(settings.RELAY_URL)
    connection = http.client.HTTPConnection(
        parts.hostname or "127.0.0.1", parts.port, timeout=RELAY_TIMEOUT_S
    )
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return Component(ok=False, state="does not answer")
    finally:
        connection.close()
    return Component(ok=status == OK, state=f"answers {status}")


def _signs_of_life() -> dict[str, Component]:
    try:
        ages = heartbeat.ages(list(OLDEST_SIGN_S))
    except redis.RedisError:
        unknown = Component(ok=False, state="unknown while Redis is away")
        return dict.fromkeys(OLDEST_SIGN_S, unknown)
    return {name: _by_age(ages[name], OLDEST_SIGN_S[name]) for name in OLDEST_SIGN_S}


def _by_age(age: float | None, oldest: float) -> Component:
    if age is None:
        return Component(ok=False, state="no sign of life yet")
    return Component(ok=age <= oldest, state=f"last sign of life {age:.0f} s ago")


def _told(find_fault: Callable[[], str]) -> Component:
    fault = find_fault()
    return Component(ok=not fault, state=fault or "in order")
