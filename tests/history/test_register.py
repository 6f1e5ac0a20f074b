"""A registration archives its tags on all topics from then on."""

from __future__ import annotations

import json

import pytest

from common import clock
from history.models import HistoryRegistration
from relayserver.models import ArchivedTag
from tests.history.conftest import bearer
from walletconnect.crypto.signing import IdentityKey

pytestmark = pytest.mark.django_db
URL = "/history/register"
BODY = {"tags": ["4002", "5000", "5002"], "relayUrl": "wss://relay.example"}


def register(client, body=BODY, authorization=None):
    headers = {"Authorization": bearer() if authorization is None else authorization}
    text = body if isinstance(body, str) else json.dumps(body)
    return client.post(URL, text, content_type="application/json", headers=headers)


def read(client, authorization=None):
    token = bearer() if authorization is None else authorization
    return client.get(URL, headers={"Authorization": token})


def archived():
    return set(ArchivedTag.objects.values_list("tag", flat=True))


def test_a_registration_archives_its_tags(client):
    answer = register(client)

    assert answer.status_code == 200
    assert archived() == {4002, 5000, 5002}
    row = HistoryRegistration.objects.get()
    assert row.client_id == IdentityKey.from_seed(bytes([7]) * 32).did
    assert row.tags == ["4002", "5000", "5002"]
    assert row.relay_url == "wss://relay.example"


def test_registering_again_changes_the_one_registration(client):
    register(client)
    register(client, {**BODY, "tags": ["5000"]})

    assert HistoryRegistration.objects.get().tags == ["5000"]
    assert archived() == {4002, 5000, 5002}


def test_integers_are_accepted_as_tags(client):
    register(client, {**BODY, "tags": [5000]})

    assert archived() == {5000}


def test_other_tags_are_not_kept_for_ever(client):
    answer = register(client, {**BODY, "tags": ["4000", "4050", "5000"]})

    assert answer.status_code == 200
    assert archived() == {5000}
    assert answer.json()["tags"] == ["4000", "4050", "5000"]
    assert answer.json()["kept"] == ["5000"]


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["400*"], {4002}),
        (["5***"], {5000, 5002}),
        (["****"], {4002, 5000, 5002}),
        (["*00*", "4002"], {4002, 5000, 5002}),
        (["4*"], set()),
        (["5000*"], set()),
        (["6***"], set()),
    ],
)
def test_a_star_is_any_one_digit(client, patterns, kept):
    answer = register(client, {**BODY, "tags": patterns})

    assert answer.json()["kept"] == [str(tag) for tag in sorted(kept)]
    assert archived() == kept


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        (["4000"], {"tags": ["4001", "4002"]}, ["4001", "4002"]),
        (["4000"], {"appendTags": ["4001", "4002"]}, ["4000", "4001", "4002"]),
        (["4000"], {"appendTags": ["4000", "4001"]}, ["4000", "4001"]),
        (["4000", "5***"], {"removeTags": ["5***"]}, ["4000"]),
        (["4000", "4002"], {"removeTags": ["5000", "4000"]}, ["4002"]),
        (
            ["4000"],
            {"tags": ["5000"], "appendTags": ["4001"], "removeTags": ["5000"]},
            ["5000"],
        ),
        (["4000"], {}, ["4000"]),
        (["4000"], {"tags": None, "appendTags": None, "removeTags": None}, ["4000"]),
        (["4000"], {"tags": []}, []),
    ],
)
def test_tags_are_replaced_added_and_removed(client, before, change, after):
    register(client, {**BODY, "tags": before})
    answer = register(client, {"relayUrl": "wss://other.example", **change})

    assert answer.status_code == 200
    assert answer.json()["tags"] == after
    assert read(client).json() == answer.json()
    assert answer.json()["relayUrl"] == "wss://other.example"


def test_appended_tags_are_archived_and_removed_ones_stay_so(client):
    register(client, {**BODY, "tags": []})
    assert archived() == set()
    register(client, {"appendTags": ["500*"], "relayUrl": ""})
    assert archived() == {5000, 5002}
    register(client, {"removeTags": ["500*"], "relayUrl": ""})
    assert archived() == {5000, 5002}
    assert HistoryRegistration.objects.get().relay_url == BODY["relayUrl"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"appendTags": ["5000"], "removeTags": ["5000"]}, 400),
        ({"appendTags": ["5000"]}, 404),
        ({"removeTags": ["5000"]}, 404),
        ({}, 400),
    ],
)
def test_a_missing_registration_is_not_changed(client, body, status):
    answer = register(client, {"relayUrl": "wss://relay.example", **body})

    assert answer.status_code == status
    assert answer["Content-Type"] == "application/problem+json"
    assert not HistoryRegistration.objects.exists()


def test_a_client_reads_its_own_registration_only(client):
    assert read(client).status_code == 404
    register(client)
    answer = read(client)

    assert answer.json() == {**BODY, "kept": ["4002", "5000", "5002"]}
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert read(client, bearer(seed=8)).status_code == 404
    assert read(client, "").status_code == 401


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
        {"tags": "5000"},
        {"tags": ["4 0*"]},
        {"tags": ["*" * 11]},
        {"appendTags": ["x"]},
        {"removeTags": "5000"},
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


def test_health_is_reported(client):
    answer = client.get("/history/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_registration_stores_its_time(client):
    before = clock.now()
    register(client)

    assert HistoryRegistration.objects.get().registered_at >= before
