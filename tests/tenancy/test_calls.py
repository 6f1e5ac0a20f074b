"""The matrix of the APIs and of the rest: every route and method of the URL configuration
that is no page, as anonymous, another tenant, and the owner."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import resolve

from accounts.devices import revoke_device
from accounts.models import User
from castserver.models import Delivery
from castserver.views.api import api as cast_api
from history.views import api as history_api
from identity.views import api as keys_api
from tests.history.conftest import bearer
from tests.identity.conftest import cacao_of, identity_key
from tests.identity.conftest import token as keys_token
from tests.identity.test_invite import INVITE, invite_token
from tests.notifyweb.test_request_costs import routes
from tests.people import ALICE, CHARLIE
from tests.tenancy.rows import Rows, all_rows, touched
from tests.tenancy.test_pages import ROUTES as PAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tenancy.conftest import World

# What a call of the Cast API sends, by method and the path without project and version.
NOTE = {"type": "orders", "title": "Hello", "body": "World"}
BODIES: dict[tuple[str, str], Any] = {
    ("GET", "subscribe-topic"): None,
    ("POST", "subscribe-topic"): {"dappUrl": "https://new.example"},
    ("GET", "authentication-key"): None,
    ("POST", "notify"): {"notification": NOTE, "accounts": [ALICE.account]},
    ("POST", "v1/notify"): [{"notification": NOTE, "accounts": [ALICE.account]}],
    ("GET", "subscribers"): None,
    ("POST", "v1/subscribers"): {"accounts": [ALICE.account]},
    ("GET", "welcome-notification"): None,
    ("POST", "welcome-notification"): {"enabled": True, **NOTE},
    ("GET", "v1/mark-all-as-read"): None,
    ("GET", "notification-types"): None,
    ("PUT", "notification-types"): [{"id": "orders", "name": "Other"}],
    ("POST", "register-webhook"): {
        "webhook": "https://new.example/hook",
        "events": ["subscribed"],
    },
    ("GET", "webhooks"): None,
    ("PUT", "webhooks/{webhook_id}"): {
        "webhook": "https://new.example/hook",
        "events": ["subscribed"],
    },
    ("DELETE", "webhooks/{webhook_id}"): None,
}
# Calls without a secret: a health check, and the link in a notification, whose id is the
# proof.
PUBLIC_CALLS = {("GET", "health"), ("GET", "v1/notification/{delivery_id}")}
# Deleting is idempotent: it answers the same whether the webhook exists or not.
SAME_ANSWER = {("DELETE", "webhooks/{webhook_id}")}
# The other routes, each with the test that shows who may.
OTHERS = {
    # No data of users.
    "healthz": "test_public_routes_show_nothing_of_alices",
    "health": "test_public_routes_show_nothing_of_alices",
    "livez": "test_public_routes_show_nothing_of_alices",
    "readyz": "test_public_routes_show_nothing_of_alices",
    "metrics": "test_public_routes_show_nothing_of_alices",
    "history:health": "test_public_routes_show_nothing_of_alices",
    "castserver:api-root": "test_public_routes_show_nothing_of_alices",
    "castserver:openapi-json": "test_public_routes_show_nothing_of_alices",
    "castserver:openapi-view": "test_public_routes_show_nothing_of_alices",
    "castserver:server-did-document": "test_public_routes_show_nothing_of_alices",
    "castserver:cast-did-document": "test_public_routes_show_nothing_of_alices",
    "castserver:explorer-config": "test_public_routes_show_nothing_of_alices",
    "castserver:did-document": "test_public_routes_show_nothing_of_alices",
    "castserver:notify-config": "test_public_routes_show_nothing_of_alices",
    # Public by the protocol: keys that anybody must be able to look up, sealed messages on
    # topics that only their owners know. Changing needs the owner's key.
    "identity:identity": "test_keys_of_another_account_cannot_be_changed",
    "identity:invite": "test_keys_of_another_account_cannot_be_changed",
    "history:register": "test_registrations_belong_to_their_client",
    "history:messages": "test_messages_need_their_topic",
}


@dataclass(frozen=True)
class Call:
    method: str
    path: str

    @property
    def tail(self) -> str:
        parts = [
            part
            for part in self.path.strip("/").split("/")
            if part not in {"{project:project_id}", "v0"}
        ]
        return "/".join(parts)

    @property
    def names_project(self) -> bool:
        return "{project:project_id}" in self.path

    @property
    def key(self) -> tuple[str, str]:
        return self.method, self.tail

    def send(self, world: World, secret: str | None, project: Any) -> Any:
        path = self.path.replace("project:", "").format(
            project_id=project.pk,
            webhook_id=world.webhook.pk,
            delivery_id=Delivery.objects.values_list("pk", flat=True).first(),
        )
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        body = BODIES.get(self.key)
        return Client().generic(
            self.method,
            f"/cast{path}",
            "" if body is None else json.dumps(body),
            content_type="application/json",
            headers=headers,
        )


def calls(api: Any) -> Iterator[Call]:
    for path, view in api.default_router.path_operations.items():
        for operation in view.operations:
            for method in operation.methods:
                yield Call(method, path)


CAST_CALLS = list(calls(cast_api))


def without_audit(rows: Rows) -> Rows:
    """A refused access to another project is audited."""
    return {key: row for key, row in rows.items() if key[0] != "accounts_auditentry"}


# --- the matrix is complete -------------------------------------------------------------


def test_every_call_of_the_rest_api_is_in_the_matrix():
    assert {call.key for call in CAST_CALLS} == set(BODIES) | PUBLIC_CALLS


def test_every_other_route_is_in_the_matrix():
    cast = {
        resolve(
            f"/cast{call.path.replace('project:', '').format(project_id='0' * 32, webhook_id='x', delivery_id='x')}"
        ).view_name
        for call in CAST_CALLS
    }
    names = {name for name, _ in routes()}
    admin = {name for name in names if name.startswith("admin:")}
    assert names - admin - cast - set(PAGES) == set(OTHERS)
    assert {test for test in OTHERS.values() if test not in globals()} == set()


def test_every_call_of_keys_and_history_server_is_known():
    """Their tests below send each of these."""
    found = {
        (call.method, call.path)
        for api in (keys_api, history_api)
        for call in calls(api)
    }
    assert found == {
        ("GET", "/identity"),
        ("POST", "/identity"),
        ("DELETE", "/identity"),
        ("GET", "/invite"),
        ("POST", "/invite"),
        ("DELETE", "/invite"),
        ("GET", "/health"),
        ("GET", "/register"),
        ("POST", "/register"),
        ("GET", "/messages"),
    }


# --- the Cast API -----------------------------------------------------------------------


def test_calls_of_other_projects_read_and_change_nothing(world, charlies_project):
    project, secret = charlies_project
    before = all_rows()
    for call in CAST_CALLS:
        if call.key in PUBLIC_CALLS:
            continue
        # Without a secret, with a wrong one, with one for another project's path.
        refused = [
            call.send(world, None, world.project),
            call.send(world, "x" * 43, world.project),
        ]
        if call.names_project:
            refused.append(call.send(world, secret, world.project))
        for response in refused:
            assert response.status_code == 401, call
            assert response["WWW-Authenticate"].startswith("Bearer"), call
        assert without_audit(all_rows()) == without_audit(before), call
        # With a valid secret, and Alice's objects in path and body.
        with transaction.atomic():
            response = call.send(world, secret, project)
            assert touched(world.rows, before, all_rows()) == [], call
            transaction.set_rollback(True)
        text = response.content.decode().lower()
        own = json.dumps(BODIES[call.key]).lower() + call.path
        assert {
            m for m in world.marks if m.lower() in text and m.lower() not in own
        } == set(), call
        if "{webhook_id}" in call.path and call.key not in SAME_ANSWER:
            assert response.status_code == 404, call


def test_calls_of_the_owner_work(world):
    before = all_rows()
    for call in CAST_CALLS:
        if call.key in PUBLIC_CALLS:
            continue
        with transaction.atomic():
            response = call.send(world, world.secret, world.project)
            assert response.status_code in {200, 201, 204}, (call, response.content)
            changed = all_rows() != before
            transaction.set_rollback(True)
        reads = call.method == "GET" or call.tail == "v1/subscribers"
        assert changed or reads, call


def test_a_revoked_secret_is_refused_everywhere(world):
    world.project.secrets.all().delete()
    for call in CAST_CALLS:
        if call.key not in PUBLIC_CALLS:
            assert call.send(world, world.secret, world.project).status_code == 401


# --- public -----------------------------------------------------------------------------


def test_public_routes_show_nothing_of_alices(world):
    paths = [
        path
        for name, path in routes()
        if OTHERS.get(name) == "test_public_routes_show_nothing_of_alices"
    ]
    paths += [
        f"/dapps/{world.project.slug}/.well-known/{name}"
        for name in ("did.json", "wc-notify-config.json")
    ]
    paths += ["/cast/w3i/v1/notify-config?appDomain=lumen.example"]
    assert len(paths) > 12
    before = all_rows()
    for path in paths:
        for method in ("GET", "POST", "PUT", "DELETE"):
            response = Client().generic(method, path)
            text = response.getvalue().decode().lower()
            assert {mark for mark in world.marks if mark.lower() in text} == set(), path
    assert touched(world.rows, before, all_rows()) == []


# --- Keys Server ------------------------------------------------------------------------

KEY, THEIRS = identity_key(31), identity_key(32)


@pytest.fixture
def registered(world):
    """Keys of Alice and Charlie, and an invite key of Alice."""
    client = Client()
    for wallet, key in ((ALICE, KEY), (CHARLIE, THEIRS)):
        cacao = {"cacao": cacao_of(wallet, key).to_value()}
        assert _send(client, "POST", "/identity", cacao).status_code == 200
    invite = {"idAuth": invite_token(key=KEY, act="register_invite")}
    assert _send(client, "POST", "/invite", invite).status_code == 200
    return client


def _send(client: Client, method: str, path: str, body: Any = None) -> Any:
    text = "" if body is None else json.dumps(body)
    return client.generic(method, path, text, content_type="application/json")


def test_keys_of_another_account_cannot_be_changed(registered):
    client, before = registered, all_rows()
    alices = {"pkh": f"did:pkh:{ALICE.account}"}
    invite = {"act": "register_invite", "sub": INVITE}
    # Alice's key claimed for Charlie's account; her keys removed and set by his key.
    forged = [
        ("POST", "/identity", {"cacao": cacao_of(CHARLIE, KEY).to_value()}),
        ("DELETE", "/identity", {"idAuth": keys_token(CHARLIE, THEIRS, **alices)}),
        ("DELETE", "/identity", {"idAuth": keys_token(ALICE, THEIRS)}),
        ("POST", "/invite", {"idAuth": invite_token(key=THEIRS, **invite)}),
        (
            "DELETE",
            "/invite",
            {"idAuth": invite_token(key=THEIRS, act="unregister_invite")},
        ),
    ]
    anonymous = [("DELETE", "/identity"), ("POST", "/invite"), ("DELETE", "/invite")]
    for method, path, body in [
        *forged,
        *((m, p, {"idAuth": "x"}) for m, p in anonymous),
    ]:
        assert _send(client, method, path, body).status_code in {400, 404}, (
            method,
            path,
        )
        assert all_rows() == before, (method, path)
    # The owner's requests work; anybody may look keys up.
    public_key = KEY.did.removeprefix("did:key:")
    assert client.get("/identity", {"publicKey": public_key}).status_code == 200
    assert client.get("/invite", {"account": ALICE.account}).status_code == 200
    own = {"idAuth": invite_token(key=KEY, act="unregister_invite")}
    assert _send(client, "DELETE", "/invite", own).status_code == 200
    own = {"idAuth": keys_token(ALICE, KEY)}
    assert _send(client, "DELETE", "/identity", own).status_code == 200
    assert client.get("/identity", {"publicKey": public_key}).status_code == 404


# --- History Server ---------------------------------------------------------------------


def test_registrations_belong_to_their_client(world):
    client = Client()
    body = json.dumps({"tags": ["4002"], "relayUrl": "wss://relay.example"})

    def register(seed: int | None, method: str = "POST", text: str = body) -> Any:
        headers = {} if seed is None else {"Authorization": bearer(seed=seed)}
        return client.generic(
            method,
            "/history/register",
            text,
            content_type="application/json",
            headers=headers,
        )

    assert register(1).status_code == 200
    before = all_rows()
    assert register(None).status_code == 401
    assert register(None, "GET", "").status_code == 401
    # Another client has none, and cannot name the first one's.
    assert register(2, "GET", "").status_code == 404
    changes = {
        "appendTags": ["5000"],
        "clientId": "x",
        "relayUrl": "wss://other.example",
    }
    assert register(2, text=json.dumps(changes)).status_code == 404
    assert all_rows() == before
    assert register(1, "GET", "").json()["relayUrl"] == "wss://relay.example"


def test_messages_need_their_topic(world):
    """There is no list of topics, and no pattern stands for several."""
    client = Client()
    for topic in (
        "",
        "*",
        "%",
        "_" * 64,
        "0" * 63,
        world.subscription.topic[:-1] + "%",
    ):
        assert client.get("/history/messages", {"topic": topic}).status_code == 400
    unknown = client.get("/history/messages", {"topic": "0" * 64}).json()
    assert unknown["messages"] == []


# --- admin ------------------------------------------------------------------------------

ADMIN = [(name, path) for name, path in routes() if name.startswith("admin:")]
# What anybody sees: the form, and its redirects and texts.
ADMIN_OPEN = {"admin:login", "admin:jsi18n", "admin:logout"}


def test_the_admin_is_for_staff(world, charlie, stranger):
    stranger.get("/signin")
    charlie.get("/settings")
    before = all_rows()
    assert len(ADMIN) > 100
    for name, path in ADMIN:
        if name in ADMIN_OPEN:
            continue
        for browser in (stranger, charlie.browser):
            response = browser.get(path)
            assert response.status_code == 302, (name, response.status_code)
            assert "/admin/login/" in response["Location"], name
        if name.endswith("_delete"):
            assert charlie.post(path).status_code == 302, name
    assert touched(world.rows, before, all_rows()) == []


def test_staff_without_permissions_see_no_rows(world, charlie):
    User.objects.filter(pk=charlie.user.pk).update(is_staff=True)
    before = all_rows()
    for name, path in ADMIN:
        if name.endswith(
            ("_changelist", "_add", "_change", "_delete", "_history")
        ) and (not name.startswith("admin:password_change")):
            response = charlie.get(path)
            # Django redirects to its index for an object that does not exist.
            assert response.status_code in {302, 403}, name
    assert touched(world.rows, before, all_rows()) == []


def test_a_device_that_was_revoked_is_out_everywhere(world):
    """A session is good as long as its device; the admin and /ops ask the same."""
    User.objects.filter(pk=world.alice.user.pk).update(is_staff=True, is_superuser=True)
    gone = world.alice.browsers[1]
    assert gone.get("/ops").status_code == 200
    assert gone.get("/admin/").status_code == 200
    revoke_device(gone.device, by=None)
    for path in ("/inbox", "/ops", "/admin/"):
        assert gone.get(path).status_code == 302, path
