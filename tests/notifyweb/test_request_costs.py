"""Every route of the web process declares what a request costs, and takes it."""

from __future__ import annotations

import dataclasses
import re
import time
import uuid
from typing import TYPE_CHECKING

import pytest
from django.urls import URLResolver, get_resolver, resolve

from castserver.views.api import api
from common.limits import Bucket, Limits
from notifyweb.request_costs import COSTS, FREE, cost_of

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = {"int": "1", "uuid": str(uuid.UUID(int=1)), "slug": "a-b"}
ONE = Bucket(1, 0.001)


def routes(patterns=None, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Name and an example path of every route."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
            continue
        path = re.sub(
            r"<(?:(\w+):)?\w+>", lambda found: EXAMPLES.get(found[1], "x"), route
        )
        path = "/" + path.replace("(?P<url>.*)$", "nothing")
        yield resolve(path).view_name, path


ROUTES = list(routes())
# One route of each class and API: that the table is applied is not a matter of the route.
COSTLY = sorted(
    {
        (method, COSTS[name].limit(method), path)
        for name, path in ROUTES
        if name in COSTS and not name.startswith("admin:")
        for method in ("GET", "POST")
        if COSTS[name].limit(method)
    }
    | {
        ("GET", "identity_read", "/identity"),
        ("DELETE", "identity_register", "/invite"),
        ("GET", "history_read", "/history/messages"),
        ("POST", "history_read", "/history/register"),
        ("POST", "cast_request", "/cast/notify"),
        ("GET", "cast_request", "/cast/webhooks"),
        ("POST", "admin_sign_in", "/admin/login/"),
        ("GET", "page_read", "/admin/accounts/user/"),
    }
)


def test_every_route_declares_what_a_request_costs():
    assert len(ROUTES) > 150
    undeclared = {name for name, path in ROUTES if cost_of(resolve(path)) is None}
    assert undeclared == set()


def test_pages_declare_their_cost_one_by_one():
    assert "dashboard:*" not in COSTS


def test_every_row_of_the_table_has_its_route():
    names = {name for name, _ in ROUTES}
    spaces = {name.partition(":")[0] + ":*" for name in names}
    assert set(COSTS) - names - spaces == set()


def test_every_cost_is_a_rate():
    used = {name for cost in COSTS.values() for name in (cost.read, cost.write) if name}
    assert {type(getattr(Limits(), name)) for name in used} == {Bucket}


def test_only_these_are_free():
    assert {name for name, cost in COSTS.items() if cost == FREE} == {
        "healthz",
        "health",
        "livez",
        "readyz",
        "metrics",
        "dashboard:manifest",
        "dashboard:service-worker",
        "dashboard:catalog",
    }


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "limit", "path"), COSTLY)
def test_a_request_beyond_the_rate_is_429(
    client, settings, redis_client, method, limit, path
):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, **{limit: ONE})
    first = client.generic(method, path, headers={"Accept": "text/html"})
    assert first.status_code != 429
    second = client.generic(method, path, headers={"Accept": "text/html"})
    assert second.status_code == 429
    assert int(second["Retry-After"]) > 0
    assert second["X-Request-Id"]


@pytest.mark.django_db
def test_the_description_of_the_api_is_built_once(client, redis_client):
    first = client.get("/cast/openapi.json")
    kept = api.get_openapi_schema(path_params={})
    started = time.perf_counter()
    assert client.get("/cast/openapi.json").content == first.content
    assert api.get_openapi_schema(path_params={}) is kept
    assert time.perf_counter() - started < 0.2
