"""Exact error responses of each HTTP endpoint: status, format, text and headers.

Each call differs from a valid one in one place and leaves the whole database unchanged.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from castserver.services.projects.projects import add_secret
from common.limits import Bucket
from common.problems import problem_url
from tests.castserver.conftest import notification
from tests.history.conftest import bearer
from tests.hostile.unchanged import nothing_changes
from tests.identity.conftest import cacao_of, identity_key, token
from tests.people import ALICE, CHARLIE

KEY, THEIRS = identity_key(1), identity_key(2)
STRANGER = "eip155:1:0x000000000000000000000000000000000000dEaD"
PROBLEM = "application/problem+json"
ANY_ORIGIN = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-store"}


@dataclass(frozen=True)
class Refusal:
    """A call and its complete response."""

    method: str
    path: str
    body: Any
    status: int
    expected: dict[str, object]
    headers: dict[str, str] = field(default_factory=dict)
    answered_with: dict[str, str] = field(default_factory=dict)


def problem(name, title, detail, **more):
    return {
        "type": problem_url(name),
        "title": title,
        "detail": detail,
    } | (more)


def check(client, call: Refusal):
    content = call.body if isinstance(call.body, str) else json.dumps(call.body)
    with nothing_changes():
        answer = client.generic(
            call.method,
            call.path,
            content,
            content_type="application/json",
            headers=call.headers,
        )
    assert answer.status_code == call.status, answer.content
    assert {
        name: answer.headers.get(name) for name in call.answered_with
    } == call.answered_with
    return answer


# --- the Cast Server --------------------------------------------------------------------


def sent(**changes):
    return {"notification": notification(**changes), "accounts": [STRANGER]}


def invalid(detail, place):
    return problem("invalid", "Unprocessable Entity", detail, field=place)


UNAUTHORIZED = problem("unauthorized", "Unauthorized", "a bearer secret is needed")
WRONG_SECRET = problem(
    "unauthorized", "Unauthorized", "the project id and the secret do not match"
)
NO_JSON = problem("malformed", "Malformed request", "the body is not valid JSON")
NEEDS = {"WWW-Authenticate": "Bearer"}
CAST = {
    "no secret": (
        "POST",
        "notify",
        sent(),
        401,
        UNAUTHORIZED,
        {"Authorization": ""},
        NEEDS,
    ),
    "another scheme": (
        "POST",
        "notify",
        sent(),
        401,
        UNAUTHORIZED,
        {"Authorization": "Basic dXNlcjpwYXNz"},
        NEEDS,
    ),
    "a wrong secret": (
        "POST",
        "notify",
        sent(),
        401,
        WRONG_SECRET,
        {"Authorization": "Bearer wrong"},
        NEEDS,
    ),
    "no JSON": ("POST", "notify", "{", 400, NO_JSON),
    "NaN": ("POST", "notify", '{"notification": NaN}', 400, NO_JSON),
    "half a character": ("POST", "notify", '{"accounts": ["\\ud800"]}', 400, NO_JSON),
    "a deep body": (
        "POST",
        "notify",
        "[" * 33 + "]" * 33,
        400,
        problem("malformed", "Malformed request", "a body nests at most 32 deep"),
    ),
    "a long body": (
        "POST",
        "notify",
        " " * (256 * 1024 + 1),
        413,
        problem("too-large", "Content too large", "a body has at most 262144 bytes"),
    ),
    "a long title": (
        "POST",
        "notify",
        sent(title="a" * 65),
        422,
        invalid("String should have at most 64 characters", "/notification/title"),
    ),
    "a number for a text": (
        "POST",
        "notify",
        sent(title=7),
        422,
        invalid("Input should be a valid string", "/notification/title"),
    ),
    "too many accounts": (
        "POST",
        "notify",
        {**sent(), "accounts": [STRANGER] * 501},
        422,
        invalid(
            "List should have at most 500 items after validation, not 501", "/accounts"
        ),
    ),
    "too many accounts in several": (
        "POST",
        "v1/notify",
        [{**sent(), "accounts": [STRANGER] * 300}] * 2,
        422,
        invalid("a call names at most 500 accounts", "accounts"),
    ),
    "a key for repeats that is none": (
        "POST",
        "notify",
        sent(),
        422,
        problem(
            "invalid",
            "Unprocessable Entity",
            "an Idempotency-Key must be 1 to 255 visible ASCII characters",
        ),
        {"Idempotency-Key": "a b"},
    ),
    "another dapp's address": (
        "POST",
        "subscribe-topic",
        {"dappUrl": "https://other.example.org"},
        409,
        problem("taken", "Conflict", "another project has this address", field="url"),
    ),
    "an inner address for a webhook": (
        "POST",
        "register-webhook",
        {"events": ["subscribed"], "webhook": "http://169.254.169.254/"},
        422,
        None,
    ),
    "a webhook that is not there": (
        "PUT",
        "webhooks/" + "0" * 32,
        {"events": ["subscribed"], "webhook": "https://a.example/x"},
        404,
        problem("not-found", "Not Found", "the project has no webhook with this id"),
    ),
    "another method": (
        "DELETE",
        "notify",
        "",
        405,
        problem("method", "Method not allowed", "This address takes POST only."),
        {},
        {"Allow": "POST, OPTIONS"},
    ),
    "an address that is none": (
        "GET",
        "nothing",
        "",
        404,
        problem("not-found", "Not found", "There is nothing at this address."),
    ),
}


@pytest.fixture
def authorized(client, project, other_project):
    """The secret, used once before, because its last use is stored once a minute."""
    headers = {"Authorization": f"Bearer {add_secret(project)}"}
    answer = client.get(f"/cast/{project.pk}/subscribers", headers=headers)
    assert answer.status_code == 200
    return headers


@pytest.mark.parametrize("name", CAST)
def test_the_cast_server_refuses(client, project, authorized, name):
    method, tail, body, status, expected, *more = CAST[name]
    headers, answered_with = [*more, {}, {}][:2]
    version, slash, end = (
        tail.partition("/") if tail.startswith("v1/") else ("", "", tail)
    )
    path = f"/cast/{version}{slash}{project.pk}/{end}"
    call = Refusal(
        method, path, body, status, expected or {}, authorized | headers, answered_with
    )
    answer = check(client, call)
    assert answer["Content-Type"] == PROBLEM
    value = answer.json()
    assert value.pop("requestId")
    assert value.pop("status") == status
    for name in ("reason", "error"):
        assert value.pop(name, value["detail"]) == value["detail"]
    if expected is not None:
        assert value == expected
    if status < 404:
        assert answer["Access-Control-Allow-Origin"] == "*"


def test_a_secret_of_another_project_is_refused(client, project, other_project):
    theirs = {"Authorization": f"Bearer {add_secret(other_project)}"}
    client.get("/cast/subscribers", headers=theirs)
    path = f"/cast/{project.pk}/notify"
    answer = check(client, Refusal("POST", path, sent(), 401, {}, theirs, NEEDS))
    assert answer.json()["detail"] == WRONG_SECRET["detail"]


def test_an_idempotency_key_of_another_body_is_refused(client, project, authorized):
    headers = authorized | {"Idempotency-Key": "one"}
    path = f"/cast/{project.pk}/notify"
    client.post(path, sent(), content_type="application/json", headers=headers)
    body = sent(title="Another")
    answer = check(client, Refusal("POST", path, body, 422, {}, headers))
    assert (
        answer.json()["detail"] == "this Idempotency-Key was used for another request"
    )


def test_exceeding_the_rate_limit_gets_retry_after(
    client, project, authorized, settings
):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, notify_project=Bucket(1, 0.1)
    )
    path = f"/cast/{project.pk}/notify"
    client.post(path, sent(), content_type="application/json", headers=authorized)
    answer = check(client, Refusal("POST", path, sent(), 429, {}, authorized))
    assert 0 < int(answer["Retry-After"]) <= 10
    assert (answer["X-RateLimit-Limit"], answer["X-RateLimit-Remaining"]) == ("1", "0")
    assert answer.json()["type"] == problem_url("too-many-requests")


# --- the Keys Server --------------------------------------------------------------------


def failure(name, message):
    return {
        "status": "FAILURE",
        "error": {"name": name, "message": message},
        "value": None,
    }


def with_signature(signature):
    cacao = cacao_of(ALICE, THEIRS).to_value()
    return {"cacao": {**cacao, "s": {**cacao["s"], "s": signature}}}


BARE = KEY.did.removeprefix("did:key:")
KEYS = {
    "no JSON": lambda: (
        "POST",
        "/identity",
        "{",
        400,
        failure("validation", "malformed body"),
    ),
    "no cacao": lambda: (
        "POST",
        "/identity",
        {},
        400,
        failure("validation", "missing member cacao"),
    ),
    "a cacao that is none": lambda: (
        "POST",
        "/identity",
        {"cacao": {}},
        400,
        failure("cacao", "malformed s"),
    ),
    "somebody else's signature": lambda: (
        "POST",
        "/identity",
        with_signature(CHARLIE.sign("another text")),
        400,
        failure("cacao", "signature does not fit"),
    ),
    "a key of another account": lambda: (
        "POST",
        "/identity",
        {"cacao": cacao_of(CHARLIE, KEY).to_value()},
        400,
        failure("cacao", "this identity key belongs to another account"),
    ),
    "a long body": lambda: (
        "POST",
        "/identity",
        " " * (128 * 1024 + 1),
        413,
        failure("validation", "a body has at most 131072 bytes"),
    ),
    "a key that is none": lambda: (
        "GET",
        "/identity?publicKey=z6LS",
        "",
        400,
        failure("validation", "publicKey is not an Ed25519 key in the form z6Mk…"),
    ),
    "no key": lambda: (
        "GET",
        "/identity",
        "",
        400,
        failure("validation", "missing query parameter publicKey"),
    ),
    "an unknown key": lambda: (
        "GET",
        f"/identity?publicKey={THEIRS.did.removeprefix('did:key:')}",
        "",
        404,
        failure(
            "Identity key not found",
            "Cannot find Identity key with specified identifier "
            + THEIRS.did.removeprefix("did:key:"),
        ),
    ),
    "another method": lambda: (
        "PUT",
        "/identity",
        {},
        405,
        failure("validation", "This address takes GET, POST, DELETE only."),
    ),
    "no token": lambda: (
        "DELETE",
        "/identity",
        {"idAuth": "a.b.c"},
        400,
        failure("jwt_verification", "malformed base64url"),
    ),
    "a token of another act": lambda: (
        "DELETE",
        "/identity",
        {"idAuth": token(ALICE, KEY, act="notify_delete")},
        400,
        failure("jwt_verification", "claim act does not fit"),
    ),
    "a token for another server": lambda: (
        "DELETE",
        "/identity",
        {"idAuth": token(ALICE, KEY, aud="https://keys.evil.example")},
        400,
        failure("jwt_verification", "aud does not name this Keys Server"),
    ),
    "an expired token": lambda: (
        "DELETE",
        "/identity",
        {"idAuth": token(ALICE, KEY, iat=1, exp=2)},
        400,
        failure("jwt_verification", "did-jwt has expired"),
    ),
    "a token of another key": lambda: (
        "DELETE",
        "/identity",
        {"idAuth": token(ALICE, THEIRS)},
        404,
        None,
    ),
    "a token for another account": lambda: (
        "DELETE",
        "/identity",
        {"idAuth": token(CHARLIE, KEY)},
        404,
        None,
    ),
    "an account that is none": lambda: (
        "GET",
        "/invite?account=alice",
        "",
        400,
        failure("validation", "account is not a CAIP-10 account"),
    ),
    "an invite of an unknown key": lambda: (
        "POST",
        "/invite",
        {"idAuth": token(ALICE, THEIRS, act="register_invite")},
        400,
        failure("jwt_verification", "sub is not an X25519 did:key"),
    ),
}


@pytest.mark.parametrize("name", KEYS)
def test_the_keys_server_refuses(client, name):
    body = {"cacao": cacao_of(ALICE, KEY).to_value()}
    registered = client.post("/identity", body, content_type="application/json")
    assert registered.status_code == 200
    method, path, body, status, expected = KEYS[name]()
    answer = check(client, Refusal(method, path, body, status, {}, {}, ANY_ORIGIN))
    assert answer["Content-Type"] == "application/json"
    if expected is None:
        assert answer.json()["error"]["name"] == "Account not found"
    else:
        assert answer.json() == expected
    assert client.get(f"/identity?publicKey={BARE}").status_code == 200


# --- the History Server -----------------------------------------------------------------


def bad(detail, place=None):
    expected = problem("bad-request", "Bad request", detail)
    return expected if place is None else expected | {"field": place}


TAGS = {"tags": ["4002"], "relayUrl": "wss://relay.example"}
NO_TOKEN = problem("unauthorized", "Unauthorized", "A relay-client JWT is required.")
TOPIC = "0" * 64
HISTORY = {
    "no token": ("POST", "register", TAGS, 401, NO_TOKEN, {"Authorization": ""}),
    "a token for a relay": (
        "POST",
        "register",
        TAGS,
        401,
        NO_TOKEN,
        {"Authorization": bearer("wss://relay.example")},
    ),
    "an old token": (
        "POST",
        "register",
        TAGS,
        401,
        NO_TOKEN,
        {"Authorization": bearer(now=1)},
    ),
    "no JSON": ("POST", "register", "{", 400, bad("malformed body")),
    "half a character": (
        "POST",
        "register",
        '{"tags": ["4000"], "relayUrl": "\\ud800"}',
        400,
        bad("malformed body"),
    ),
    "no tags": ("POST", "register", {}, 400, bad("malformed tags")),
    "a tag that is none": (
        "POST",
        "register",
        {**TAGS, "tags": ["x"]},
        400,
        bad("malformed tags", "tags"),
    ),
    "a tag of five thousand digits": (
        "POST",
        "register",
        {**TAGS, "tags": ["9" * 5000]},
        400,
        bad("malformed tags", "tags"),
    ),
    "too many tags": (
        "POST",
        "register",
        {**TAGS, "tags": ["1"] * 65},
        400,
        bad("tags is too long"),
    ),
    "a relay with a zero character": (
        "POST",
        "register",
        {**TAGS, "relayUrl": "wss://a\x00"},
        400,
        bad("malformed relayUrl", "relayUrl"),
    ),
    "a long body": (
        "POST",
        "register",
        " " * (16 * 1024 + 1),
        413,
        problem("too-large", "Content too large", "a body has at most 16384 bytes"),
    ),
    "another method": (
        "PUT",
        "register",
        "",
        405,
        problem("method", "Method not allowed", "This address takes GET, POST only."),
    ),
    "no topic": ("GET", "messages", "", 400, bad("malformed topic", "topic")),
    "a topic that is none": (
        "GET",
        "messages?topic=abc",
        "",
        400,
        bad("malformed topic", "topic"),
    ),
    "a direction that is none": (
        "GET",
        f"messages?topic={TOPIC}&direction=up",
        "",
        400,
        bad("forward or backward", "direction"),
    ),
    "a count that is none": (
        "GET",
        f"messages?topic={TOPIC}&messageCount=-1",
        "",
        400,
        bad("a positive number", "messageCount"),
    ),
    "an origin that is none": (
        "GET",
        f"messages?topic={TOPIC}&originId=%01",
        "",
        400,
        bad("malformed originId", "originId"),
    ),
}


@pytest.mark.parametrize("name", HISTORY)
def test_the_history_server_refuses(client, name):
    method, tail, body, status, expected, *more = HISTORY[name]
    headers = more[0] if more else {"Authorization": bearer()}
    needs = NEEDS if status == 401 else {}
    call = Refusal(
        method, f"/history/{tail}", body, status, expected, headers, ANY_ORIGIN | needs
    )
    answer = check(client, call)
    assert answer["Content-Type"] == PROBLEM
    value = answer.json()
    assert value.pop("requestId")
    assert value.pop("status") == status
    assert value == expected
