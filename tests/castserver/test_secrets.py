"""API secrets: scopes, replacing one without a gap, limits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from castserver.models import SecretScope
from castserver.services.errors import Invalid, Missing, Taken, TooMany
from castserver.services.projects.projects import (
    add_secret,
    create_project,
    find_secret,
    replace_secret,
    revoke_secret,
)
from castserver.views.api import api as cast_api
from common import clock
from tests.castserver.conftest import Caller

pytestmark = pytest.mark.django_db

NOTIFY = {
    "notification": {"type": "alerts", "title": "t", "body": "b", "url": None},
    "accounts": [],
}
CALLS = {
    ("POST", "notify"): SecretScope.SEND,
    ("GET", "welcome-notification"): SecretScope.SEND,
    ("POST", "welcome-notification"): SecretScope.SEND,
    ("POST", "v1/notify"): SecretScope.SEND,
    ("GET", "v1/mark-all-as-read"): SecretScope.SEND,
    ("GET", "subscribers"): SecretScope.SUBSCRIBERS,
    ("POST", "v1/subscribers"): SecretScope.SUBSCRIBERS,
    ("POST", "register-webhook"): SecretScope.WEBHOOKS,
    ("GET", "webhooks"): SecretScope.WEBHOOKS,
    ("PUT", "webhooks/{webhook_id}"): SecretScope.WEBHOOKS,
    ("DELETE", "webhooks/{webhook_id}"): SecretScope.WEBHOOKS,
    ("PUT", "notification-types"): SecretScope.PROJECT,
    # Any secret reads what is public anyway; changing the address has a test of its own.
    ("GET", "notification-types"): None,
    ("GET", "subscribe-topic"): None,
    ("POST", "subscribe-topic"): None,
    ("GET", "authentication-key"): None,
}
BODIES = {
    "notify": NOTIFY,
    "v1/notify": [NOTIFY],
    "v1/subscribers": {"accounts": ["eip155:1:0x" + "0" * 40]},
    "welcome-notification": {
        "enabled": True,
        "type": "alerts",
        "title": "t",
        "body": "b",
    },
    "register-webhook": {
        "webhook": "https://dapp.example/hook",
        "events": ["subscribed"],
    },
    "webhooks/{webhook_id}": {
        "webhook": "https://dapp.example/hook",
        "events": ["subscribed"],
    },
    "notification-types": [{"id": "updates", "description": "News"}],
}


def test_every_call_of_the_api_is_in_the_table():
    """A new call must declare which scope it needs, or that it needs none."""
    described = {
        (method.upper(), path.removeprefix("/cast/").replace("{project_id}/", ""))
        for path, methods in cast_api.get_openapi_schema()["paths"].items()
        for method in methods
        if "{project_id}" in path
    }
    assert described == set(CALLS)


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_a_call_needs_its_scope(project, method, path):
    needed = CALLS[method, path]
    for scope in SecretScope:
        # Without the project id: the secret names the project.
        caller = Caller(project, add_secret(project, scopes=[scope]), prefix="/cast")
        response = caller.call(
            method,
            path.format(webhook_id="0" * 32),
            BODIES.get(path) if method in ("POST", "PUT") else None,
        )
        if needed in (None, scope):
            assert response.status_code not in (401, 403), response.content
        else:
            assert response.status_code == 403
            assert needed in response.json()["detail"]
            assert f'scope="{needed}"' in response["WWW-Authenticate"]


def test_only_some_secrets_change_the_address(project):
    caller = Caller(project, add_secret(project, scopes=[SecretScope.SEND]))
    before = project.url
    for body in ({"dappUrl": "https://new.example"}, {"appDomain": "new.example"}):
        assert caller.post("subscribe-topic", body).status_code == 403
    project.refresh_from_db()
    assert project.url == before
    caller = Caller(project, add_secret(project, scopes=[SecretScope.PROJECT]))
    assert (
        caller.post("subscribe-topic", {"appDomain": "new.example"}).status_code == 200
    )


@pytest.mark.parametrize("scopes", [[], ["admin"], ["notify"]])
def test_a_secret_without_a_scope_is_not_made(project, scopes):
    with pytest.raises(Invalid, match="at least one scope"):
        add_secret(project, scopes=scopes)
    assert project.secrets.count() == 1


@pytest.mark.parametrize("name", ["x" * 65, "two\nlines", "nul\x00"])
def test_a_secrets_name_is_one_short_line(project, name):
    with pytest.raises(Invalid, match="name"):
        add_secret(project, name=name)
    assert project.secrets.count() == 1


def test_a_replaced_secret_stays_valid_for_a_day(project, monkeypatch):
    first = add_secret(project, name="worker", scopes=[SecretScope.SEND])
    row = find_secret(first)
    second = replace_secret(project, row.pk)
    new = find_secret(second)
    assert (new.name, new.scopes) == ("worker", [SecretScope.SEND])
    assert find_secret(first).project == project
    with pytest.raises(Taken, match="being replaced"):
        replace_secret(project, row.pk)
    now = clock.now()
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=1, seconds=1))
    with pytest.raises(Missing):
        find_secret(first)
    assert find_secret(second).project == project
    for change in (replace_secret, revoke_secret):
        with pytest.raises(Missing):
            change(project, row.pk)


def test_a_project_at_the_limit_can_still_replace(project, settings):
    while project.secrets.count() < settings.LIMITS.secrets_per_project:
        add_secret(project)
    with pytest.raises(TooMany):
        add_secret(project)
    replace_secret(project, project.secrets.first().pk)
    with pytest.raises(TooMany):
        add_secret(project)


def test_a_secret_of_another_project_is_not_replaced(project):
    other_project, _ = create_project("Other", url="https://other.example")
    foreign = other_project.secrets.get()
    with pytest.raises(Missing):
        replace_secret(project, foreign.pk)
    assert other_project.secrets.count() == 1
