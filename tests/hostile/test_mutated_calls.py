"""HTTP calls with random changes of bodies, tokens, queries and paths.

Each call differs from a valid one in one place. It succeeds, or is refused with a 4xx in the
format of its server and changes nothing. None is a 5xx: the test client would raise its cause.
"""

from __future__ import annotations

import copy
import json
import os
import random
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction

from castserver.services.projects.projects import add_secret
from castserver.services.webhooks.webhooks import register_webhook
from common.limits import Bucket
from tests.castserver.conftest import notification
from tests.history.conftest import bearer, topic
from tests.hostile.mutations import STRANGE, change_once, deep
from tests.hostile.tokens import encoded
from tests.hostile.unchanged import changed_since, contents
from tests.identity.conftest import cacao_of, identity_key, token
from tests.identity.test_invite import invite_token
from tests.people import ALICE
from walletconnect.crypto.base64url import decode_base64url, encode_base64url

if TYPE_CHECKING:
    from django.test import Client

ROUNDS = int(os.environ.get("HOSTILE_ROUNDS", "12"))
PATIENT = Bucket(1_000_000, 1000)
KEY = identity_key(1)
ACCOUNT = "eip155:1:0x000000000000000000000000000000000000dEaD"
TEXTS = [
    *(each for each in STRANGE if isinstance(each, str) and each != "\ud800"),
    "9" * 5000,
    "\u0661",  # a digit, in Arabic
    "%00",
    "../../etc/passwd",
    "' OR 1=1 --",
]


@pytest.fixture(autouse=True)
def no_limits(settings):
    buckets = [
        each.name
        for each in fields(settings.LIMITS)
        if isinstance(getattr(settings.LIMITS, each.name), Bucket)
    ]
    settings.LIMITS = replace(settings.LIMITS, **dict.fromkeys(buckets, PATIENT))


@dataclass
class Call:
    """A valid call; ``signer`` signs the changed token in its body."""

    method: str
    path: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    signer: Any = None

    def send(self, client: Client):
        content = "" if self.body is None else json.dumps(self.body)
        return client.generic(
            self.method,
            self.path,
            content,
            content_type="application/json",
            headers=self.headers,
        )

    def changed(self, order: random.Random) -> Call:
        body = copy.deepcopy(self.body)
        if self.signer is not None and order.random() < 0.8:
            body["idAuth"] = self._resigned(body["idAuth"], order)
        elif order.random() < 0.05:
            body = order.choice(STRANGE)
        else:
            change_once(body, order)
        return replace(self, body=body)

    def _resigned(self, text: str, order: random.Random) -> str:
        header, claims, _ = text.split(".")
        changed = json.loads(decode_base64url(claims))
        change_once(changed, order)
        claims_part = encode_base64url(json.dumps(changed).encode())
        signature = self.signer.sign(f"{header}.{claims_part}".encode())
        return f"{header}.{claims_part}.{encode_base64url(signature)}"


def is_refusal(answer) -> bool:
    """Whether the response is a refusal in the format of its server."""
    assert answer.status_code < 500
    if answer.status_code < 400:
        return False
    value = json.loads(answer.content)
    if "type" in value:
        assert answer["Content-Type"].startswith("application/problem+json")
        assert value["status"] == answer.status_code
        assert value["title"]
        assert value["detail"]
    else:
        assert (value["status"], value["value"]) == ("FAILURE", None)
        assert value["error"]["name"]
        assert value["error"]["message"]
    return True


@pytest.fixture
def withstand(client, request):
    """Send calls, each in the same state; a refused call changes nothing."""

    def withstand(calls):
        before = contents()
        refused = 0
        for call in calls:
            with transaction.atomic():
                if is_refusal(call.send(client)):
                    refused += 1
                    assert changed_since(before) == {}, call
                transaction.set_rollback(True)
        assert refused

    return withstand


@pytest.fixture
def order(request):
    return random.Random(request.node.name)  # noqa: S311


# --- bodies -----------------------------------------------------------------------------


def cast_calls(project, headers) -> dict[str, Call]:
    hook, _ = register_webhook(
        project, "https://hook.example.org/x", events=["subscribed"]
    )
    webhook = {"events": ["subscribed", "unsubscribed"], "webhook": hook.url}
    sent = {"notification": notification(), "accounts": [ACCOUNT]}
    welcome = {"enabled": True, "type": "alerts", "title": "Hi", "body": "there"}
    bodies = {
        "subscribe-topic": {"dappUrl": "https://new.example.org"},
        "notify": sent | {"notification_id": "one"},
        "v1/notify": [sent],
        "v1/subscribers": {"accounts": [ACCOUNT]},
        "v0/welcome-notification": welcome | {"url": "https://a.example"},
        "register-webhook": webhook,
    }
    calls = {
        name: Call("POST", f"/cast/{_placed(name, project)}", body, headers)
        for name, body in bodies.items()
    }
    place = f"/cast/{project.pk}/webhooks/{hook.pk}"
    return calls | {"webhooks": Call("PUT", place, webhook, headers)}


def _placed(name: str, project) -> str:
    version, slash, tail = name.rpartition("/")
    return f"{version}{slash}{project.pk}/{tail}"


CAST = [
    "subscribe-topic",
    "notify",
    "v1/notify",
    "v1/subscribers",
    "v0/welcome-notification",
    "register-webhook",
    "webhooks",
]


@pytest.fixture
def secret(client, project):
    """Used once before, because its last use is stored once a minute."""
    headers = {"Authorization": f"Bearer {add_secret(project)}"}
    answer = client.get(f"/cast/{project.pk}/subscribers", headers=headers)
    assert answer.status_code == 200
    return headers


@pytest.mark.parametrize("name", CAST)
def test_calls_of_a_dapp(withstand, order, project, secret, name):
    call = cast_calls(project, secret)[name]
    withstand(call.changed(order) for _ in range(ROUNDS))


@pytest.mark.parametrize("name", ["register", "unregister", "invite", "uninvite"])
def test_calls_to_the_keys_server(client, withstand, order, name):
    valid = cacao_of(ALICE, KEY).to_value()
    register = Call("POST", "/identity", {"cacao": valid})
    if name != "register":
        assert register.send(client).status_code == 200
    calls = {
        "register": register,
        "unregister": Call(
            "DELETE", "/identity", {"idAuth": token(ALICE, KEY)}, signer=KEY
        ),
        "invite": Call(
            "POST",
            "/invite",
            {"idAuth": invite_token(act="register_invite")},
            signer=KEY,
        ),
        "uninvite": Call(
            "DELETE",
            "/invite",
            {"idAuth": invite_token(act="unregister_invite")},
            signer=KEY,
        ),
    }
    withstand(calls[name].changed(order) for _ in range(ROUNDS))


def test_registrations_at_the_history_server(withstand, order):
    body = {"tags": ["4002", "5000", "5002"], "relayUrl": "wss://relay.example"}
    call = Call("POST", "/history/register", body, {"Authorization": bearer()})
    strange = [
        replace(call, body={**body, "tags": ["9" * 5000]}),
        replace(call, body={**body, "relayUrl": "wss://a\x00b"}),
    ]
    withstand([*strange, *(call.changed(order) for _ in range(ROUNDS))])


# --- queries and paths ------------------------------------------------------------------

QUESTIONS = {
    "/identity": {"publicKey": KEY.did.removeprefix("did:key:")},
    "/invite": {"account": ALICE.account},
    "/history/messages": {
        "topic": topic(),
        "originId": "0" * 64,
        "messageCount": "5",
        "direction": "backward",
    },
    "/cast/w3i/v1/notify-config": {"appDomain": "dapp.example.org"},
}
EMBEDDED_PATHS = [
    "/dapps/{}/.well-known/did.json",
    "/cast/{}/subscribers",
    "/cast/v1/notification/{}",
    "/cast/{}/webhooks/{}",
]


@pytest.mark.parametrize("path", QUESTIONS)
def test_mutated_queries(client, path):
    before = contents()
    for name in QUESTIONS[path]:
        for text in TEXTS:
            answer = client.get(path, {**QUESTIONS[path], name: text})
            is_refusal(answer)
    assert changed_since(before) == {}


@pytest.mark.parametrize("place", EMBEDDED_PATHS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_mutated_paths(client, secret, place, method):
    before = contents()
    for text in TEXTS:
        path = place.replace("{}", text.replace("/", "%2F"))
        assert is_refusal(client.generic(method, path)), path
        answer = client.generic(method, path, headers=secret)
        assert answer.status_code < 500
    assert changed_since(before) == {}


@pytest.mark.parametrize("levels", [100, 126, 140, 253, 255, 300, 900])
def test_bodies_that_nest_deep(client, withstand, levels):
    cacao = cacao_of(ALICE, KEY).to_value()
    header = {"h": cacao["h"] | {"more": deep(levels)}}
    payload = {"p": cacao["p"] | {"more": deep(levels)}}
    withstand(
        [
            Call("POST", "/identity", {"cacao": cacao | header}),
            Call("POST", "/identity", {"cacao": cacao | payload}),
            Call("POST", "/identity", {"cacao": deep(levels)}),
            Call("POST", "/history/register", deep(levels)),
            Call("DELETE", "/identity", {"idAuth": f"{encoded(deep(levels))}.e30.e30"}),
        ]
    )
