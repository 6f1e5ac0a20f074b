"""Whoever registers has the archive kept, for all topics and from then on."""

from __future__ import annotations

import json

import pytest

from groundwork import clock
from history.models import HistoryRegistration
from relay.models import ArchivedTag
from tests.history.conftest import bearer
from walletconnect.crypto.signing import IdentityKey

pytestmark = pytest.mark.django_db
URL = "/history/register"
BODY = {"tags": ["4002", "5000", "5002"], "relayUrl": "wss://relay.example"}


def register(client, body=BODY, authorization=None):
    headers = {"Authorization": bearer() if authorization is None else authorization}
    text = body if isinstance(body, str) else json.dumps(body)
    return client.post(URL, text, content_type="application/json", headers=headers)


def archived():
    return set(ArchivedTag.objects.values_list("tag", flat=True))


def test_a_registration_archives_its_tags(client):
    answer = register(client)

    assert answer.status_code == 200
    assert archived() == {4002, 5000, 5002}
    row = HistoryRegistration.objects.get()
    assert row.client_id == IdentityKey.from_seed(bytes([7]) * 32).did
    assert row.tags == [4002, 5000, 5002]
    assert row.relay_url == "wss://relay.example"


def test_registering_again_changes_the_one_registration(client):
    register(client)
    register(client, {**BODY, "tags": ["5000"]})

    assert HistoryRegistration.objects.get().tags == [5000]
    assert archived() == {4002, 5000, 5002}


def test_integers_are_accepted_as_tags(client):
    register(client, {**BODY, "tags": [5000]})

    assert archived() == {5000}


def test_other_tags_are_not_kept_for_ever(client):
    answer = register(client, {**BODY, "tags": ["4000", "4050", "5000"]})

    assert answer.status_code == 200
    assert archived() == {5000}


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer x.y.z",
        "Basic dXNlcjpwYXNz",
        bearer("wss://relay.example"),
        bearer(now=1),
    ],
)
def test_without_a_token_for_this_server_nothing_is_registered(client, authorization):
    answer = register(client, authorization=authorization)

    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"
    assert not HistoryRegistration.objects.exists()


def test_a_token_for_this_server_under_another_name_is_accepted(client):
    answer = register(client, authorization=bearer("https://history.example.org"))

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "no json",
        {},
        {"tags": "5000"},
        {"tags": ["x"]},
        {"tags": [{}]},
        {"tags": [str(2**32)]},
        {"tags": ["1"] * 65},
        {**BODY, "relayUrl": 7},
        {**BODY, "relayUrl": "wss://" + "x" * 300},
    ],
)
def test_a_malformed_registration_is_refused(client, body):
    answer = register(client, body)

    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert not HistoryRegistration.objects.exists()


def test_a_huge_body_is_refused(client):
    answer = register(client, json.dumps({**BODY, "more": "x" * 20_000}))

    assert answer.status_code == 413


def test_only_post_registers_and_any_origin_may(client):
    assert client.get(URL).status_code == 405
    preflight = client.options(URL)
    assert preflight.status_code == 204
    assert "Authorization" in preflight["Access-Control-Allow-Headers"]
    assert register(client)["Access-Control-Allow-Origin"] == "*"


def test_a_registration_knows_when(client):
    before = clock.now()
    register(client)

    assert HistoryRegistration.objects.get().registered_at >= before
