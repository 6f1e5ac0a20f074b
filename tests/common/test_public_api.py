"""What the three public APIs do with every call, whichever server it is for."""

from __future__ import annotations

import dataclasses
import json

import pytest

from common.limits import Bucket
from common.problems import problem_url
from identity.views import KeysAPI

pytestmark = pytest.mark.django_db

# Of each server: an address, its methods, and the limit of its bodies.
ENDPOINTS = {
    "/identity": ("GET, POST, DELETE, OPTIONS", "keys_body_bytes"),
    "/invite": ("GET, POST, DELETE, OPTIONS", "keys_body_bytes"),
    "/history/register": ("GET, POST, OPTIONS", "history_body_bytes"),
    "/history/messages": ("GET, OPTIONS", "history_body_bytes"),
    "/history/health": ("GET, OPTIONS", "history_body_bytes"),
    "/cast/notify": ("POST, OPTIONS", "json_body_bytes"),
    "/cast/v1/notify": ("POST, OPTIONS", "json_body_bytes"),
    "/cast/webhooks": ("GET, OPTIONS", "json_body_bytes"),
    "/cast/health": ("GET, OPTIONS", "json_body_bytes"),
}


@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_preflight_is_answered_for_any_origin(client, path):
    answer = client.options(path)
    assert answer.status_code == 204
    assert answer["Access-Control-Allow-Origin"] == "*"
    for name in ("Authorization", "Content-Type", "Idempotency-Key"):
        assert name in answer["Access-Control-Allow-Headers"]
    for method in ENDPOINTS[path][0].split(", "):
        assert method in answer["Access-Control-Allow-Methods"]
    assert "Access-Control-Allow-Credentials" not in answer


@pytest.mark.parametrize("path", ENDPOINTS)
def test_another_method_is_405_with_the_methods_that_exist(client, path):
    answer = client.patch(path)
    assert answer.status_code == 405
    assert answer["Allow"] == ENDPOINTS[path][0]
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_long_body_is_413_before_it_is_parsed(client, path, settings):
    limit = ENDPOINTS[path][1]
    settings.LIMITS = dataclasses.replace(settings.LIMITS, **{limit: 10})
    answer = client.post(path, "{" * 11, content_type="application/json")
    assert answer.status_code == 413
    assert "a body has at most 10 bytes" in answer.content.decode()
    assert answer["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "/identity", "identity_register"),
        ("DELETE", "/invite", "identity_register"),
        ("GET", "/history/messages", "history_read"),
        ("POST", "/history/register", "history_read"),
        ("GET", "/cast/webhooks", "failed_sign_in"),
    ],
)
def test_too_many_calls_are_429_with_the_time_to_wait(
    client, settings, redis_client, method, path, limit
):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, **{limit: Bucket(1, 0.01)})
    headers = {"Authorization": "Bearer wrong"}
    client.generic(method, path, headers=headers)
    answer = client.generic(method, path, headers=headers)
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) > 0
    assert "Retry-After" in answer["Access-Control-Expose-Headers"]


def test_errors_have_the_form_of_their_server(client):
    keys = client.patch("/identity").json()
    assert (keys["status"], keys["error"]["name"]) == ("FAILURE", "validation")
    history = client.patch("/history/register").json()
    assert history["type"] == problem_url("method")
    cast = client.patch("/cast/notify").json()
    assert cast["detail"] == cast["reason"] == cast["error"]


def test_our_own_faults_are_not_reported_as_the_callers(rf):
    api = KeysAPI(name="faulty", max_body="keys_body_bytes", openapi_url=None)

    @api.get("/fault")
    def fault(request):
        raise ZeroDivisionError

    (pattern,) = api.patterns()
    with pytest.raises(ZeroDivisionError):
        pattern.callback(rf.get("/fault"))
    assert json.loads(pattern.callback(rf.put("/fault")).content)["value"] is None
