"""JSON in requests: too large, too deep, or made to take memory once it is read.

The endpoints come from the URL configuration, so that a new one is tested as soon as it is
there. Nothing is stored, the caller gets a 4xx, and reading takes a bounded memory.
"""

from __future__ import annotations

import json
import tracemalloc

import pytest
from django.conf import settings
from django.urls import URLPattern, get_resolver

from castserver.services.projects.projects import add_secret
from common.public_api import METHODS
from dashboard.consumers import MAX_FRAME_LENGTH, _parse_frame
from tests.hostile.unchanged import nothing_changes
from tests.relayserver.conftest import running_node
from tests.relayserver.wire import connected, key
from walletconnect.errors import RemoteProtocolError
from walletconnect.json_values import parse_json
from walletconnect.relay.rpc import parse

MIB = 1024 * 1024
LARGEST = settings.LIMITS.json_body_bytes
DEPTH = settings.LIMITS.json_depth
# A page of the application and the test client take some by themselves.
MEMORY = 16 * MIB


def deep(levels: int, *, of: str = "[]") -> str:
    opening = "[" if of == "[]" else '{"a":'
    return opening * levels + "1" + ("]" if of == "[]" else "}") * levels


BODIES = {
    "one level too deep": deep(DEPTH + 1),
    "objects one level too deep": deep(DEPTH + 1, of="{}"),
    "deeper than the stack": deep(100_000),
    "opened and never closed": "[" * 100_000,
    # What takes the most memory for its length.
    "empty objects": "[" + "{}," * (LARGEST // 3 - 2) + "{}]",
    "empty lists": "[" + "[]," * (LARGEST // 3 - 2) + "[]]",
    "members": json.dumps({f"{n:x}": n for n in range(20_000)}),
    "a number": "9" * (LARGEST - 1),
    "fractions": "[" + "1e9," * (LARGEST // 4 - 2) + "1]",
    "escapes": '"' + "\\u0001" * (LARGEST // 6 - 2) + '"',
    "too long": '"' + "x" * LARGEST + '"',
}


def addresses(project) -> list[tuple[str, str]]:
    """Method and path of every call that is no page."""
    found = []
    for path, name in routes(get_resolver()):
        if name.startswith(("dashboard", "admin", "operations")):
            continue
        filled = (
            path.replace("<project:project_id>", str(project.pk))
            .replace("<slug:slug>", project.slug)
            .replace("<webhook_id>", "00000000-0000-7000-8000-000000000000")
            .replace("<delivery_id>", "00000000-0000-7000-8000-000000000000")
        )
        if "<" not in filled and "^" not in filled:
            found += [(method, f"/{filled}") for method in METHODS if method != "GET"]
    return sorted(set(found))


def routes(resolver, prefix="", names=""):
    for each in resolver.url_patterns:
        path = prefix + str(each.pattern)
        if isinstance(each, URLPattern):
            yield path, names or each.lookup_str
        else:
            yield from routes(each, path, names or (each.app_name or ""))


@pytest.mark.parametrize("body", ["one level too deep", "empty lists", "too long"])
def test_every_endpoint_refuses_it(body, client, project, bearer):
    calls = addresses(project)
    assert len({path for _, path in calls}) > 40
    accepted = {}
    with nothing_changes():
        for method, path in calls:
            status = send(client, method, path, BODIES[body], bearer).status_code
            # 204: a webhook that is not there, whose deletion has no body.
            if status != 204 and not 400 <= status < 500:
                accepted[method, path] = status
    assert accepted == {}


@pytest.mark.parametrize("body", BODIES)
def test_reading_it_takes_a_bounded_memory(body, client, project, bearer):
    text = BODIES[body]
    for path in ("/identity", "/history/register", f"/cast/{project.pk}/notify"):
        tracemalloc.start()
        try:
            status = send(client, "POST", path, text, bearer).status_code
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert 400 <= status < 500, path
        assert peak < MEMORY + len(text), path


@pytest.fixture
def bearer(client, project):
    found = {"Authorization": f"Bearer {add_secret(project)}"}
    # The first use of a secret is written down.
    path = f"/cast/{project.pk}/subscribers"
    assert client.get(path, headers=found).status_code == 200
    return found


def send(client, method, path, text, headers):
    return client.generic(
        method, path, text, content_type="application/json", headers=headers
    )


def test_the_list_of_endpoints_has_those_that_take_json(project):
    paths = {path for _, path in addresses(project)}
    assert {
        "/identity",
        "/invite",
        "/history/register",
        f"/cast/{project.pk}/notify",
        "/cast/v1/notify",
        "/cast/notification-types",
        "/cast/register-webhook",
    } <= paths


# --- sockets ----------------------------------------------------------------------------


@pytest.mark.parametrize("body", BODIES)
def test_the_live_socket_takes_no_such_frame(body):
    assert _parse_frame(BODIES[body]) is None


@pytest.mark.parametrize(
    "frame",
    [
        '{"type":"ack","sequence":1e400}',
        '{"type":"ack","sequence":NaN}',
        '{"type":"ack","sequence":' + "9" * 300 + "}",
        '{"type":"resume","generation":"\\ud800","sequence":1}',
        '{"type":"ack","sequence":1,"more":' + deep(DEPTH) + "}",
    ],
)
def test_the_live_socket_reads_as_strictly_as_everything_else(frame):
    assert len(frame) <= MAX_FRAME_LENGTH
    assert _parse_frame(frame) is None


async def test_the_relay_answers_deep_and_wide_frames_and_serves_on(db):
    async with running_node() as node, connected(node.url, key()) as client:
        for text in BODIES.values():
            await client.send(text)
        await client.call("irn_subscribe", topic="ab" * 32)


def test_a_frame_of_the_relay_takes_a_bounded_memory():
    """One at a time is read. A MiB of empty lists is the worst that JSON has."""
    text = "[" + "[]," * (MIB // 3 - 2) + "[]]"
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            parse(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * MIB


def test_the_strict_reader_takes_what_is_just_below_the_limit():
    assert parse_json(deep(DEPTH))
    assert parse_json(deep(DEPTH, of="{}"))
