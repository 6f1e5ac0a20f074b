"""The REST API: every form of it that callers know, who may call it, and what it refuses."""

from __future__ import annotations

import dataclasses
import json

import pytest
from django.test import Client

from castserver.models import (
    Delivery,
    IdempotentCall,
    Notification,
    Project,
    Subscriber,
    Webhook,
)
from castserver.services.errors import Invalid, StillRunning
from castserver.services.projects.projects import (
    TypeDraft,
    add_secret,
    create_project,
    describe,
    revoke_secret,
)
from castserver.services.webhooks.webhooks import register_webhook
from common import clock
from common.limits import Bucket
from tests.castserver.conftest import Caller, notification
from tests.castserver.world import counts, deliver, open_all, sent
from walletconnect.identity.did import public_key_of

STRANGER = "eip155:1:0x000000000000000000000000000000000000dEaD"


# --- keys -----------------------------------------------------------------------------


def test_subscribe_topic_in_all_spellings(api, project):
    authentication = public_key_of(project.authentication_did).hex()
    expected = {
        "publicKey": project.public_key_x,
        "identityPublicKey": authentication,
        "subscribeTopicPublicKey": project.public_key_x,
        "authenticationKey": authentication,
        "subscribeKey": project.public_key_x,
        "subscribeTopic": project.subscribe_topic,
    }
    assert api.get("subscribe-topic").json() == expected
    assert api.post("subscribe-topic").json() == expected
    assert api.post("subscribe-topic", {"dappUrl": project.url}).json() == expected
    assert api.post("subscribe-topic", {"appDomain": "dapp.example.org"}).json() == (
        expected
    )
    assert api.get("authentication-key").json() == {"publicKey": authentication}


def test_subscribe_topic_sets_the_address_and_keeps_the_keys(api, project):
    answer = api.post("subscribe-topic", {"dappUrl": "https://new.example.org/"})
    assert answer.json()["publicKey"] == project.public_key_x
    project.refresh_from_db()
    assert project.url == "https://new.example.org"
    api.post("subscribe-topic", {"appDomain": "newer.example.org"})
    project.refresh_from_db()
    assert project.url == "https://newer.example.org"
    api.post("subscribe-topic", {"appDomain": "localhost:7204"})
    project.refresh_from_db()
    assert project.url == "http://localhost:7204"


def test_another_dapps_address_is_taken(api):
    create_project("Other", url="https://other.example.org")
    answer = api.post("subscribe-topic", {"dappUrl": "https://other.example.org"})
    assert answer.status_code == 409
    assert answer.json()["field"] == "url"


def test_a_changed_secret_changes_no_key(api, project):
    before = api.get("subscribe-topic").json()
    secret = add_secret(project)
    revoke_secret(project, project.secrets.order_by("pk").first().pk)
    assert api.get("subscribe-topic").status_code == 401
    assert Caller(project, secret).get("subscribe-topic").json() == before


# --- notify ---------------------------------------------------------------------------


def test_notify_answers_with_both_names(api, alice, project):
    alice.subscribe(project)
    answer = api.post(
        "notify",
        {"notification": notification(), "accounts": [str(alice.account), STRANGER]},
    )
    assert answer.status_code == 200
    assert answer.json() == {
        "sent": [str(alice.account)],
        "failed": [],
        "notFound": [STRANGER],
        "not_found": [STRANGER],
    }


def test_icon_and_url_may_be_absent_or_null(api, alice, project):
    subscription = alice.subscribe(project)
    for change in ({}, {"icon": None, "url": None}):
        body = {"type": "alerts", "title": "t", "body": "b"} | change
        answer = api.post(
            "notify", {"notification": body, "accounts": [str(alice.account)]}
        )
        assert answer.json()["sent"] == [str(alice.account)]
    assert len(open_all(subscription.sym_key, 4002)) == 2


def test_notify_v1_takes_several(api, alice, bob, project):
    alice.subscribe(project)
    bob.subscribe(project)
    client = Caller(project, api.secret, prefix=f"/cast/v1/{project.pk}")
    calls = [
        {"notification": notification(), "accounts": [str(alice.account)]},
        {
            "notification": notification(title="Two"),
            "accounts": [str(bob.account)],
            "notification_id": "two",
        },
    ]
    first = client.post("notify", calls).json()
    assert first["sent"] == [str(alice.account), str(bob.account)]
    client.post("notify", calls[1:])
    assert Notification.objects.count() == 2
    assert len(sent(tag=4002)) == 2


def test_notify_names_at_most_500_accounts_in_all(api, project):
    accounts = [f"eip155:1:0x{number:040x}" for number in range(251)]
    client = Caller(project, api.secret, prefix=f"/cast/v1/{project.pk}")
    call = {"notification": notification(), "accounts": accounts}
    before = counts()
    assert client.post("notify", [call, call]).status_code == 422
    assert counts() == before
    assert client.post("notify", [call]).status_code == 200


@pytest.mark.parametrize("prefix", ["/cast", "/cast/v0", "/cast/{id}", "/cast/v0/{id}"])
def test_the_project_may_be_named_or_not(project, secret, prefix):
    caller = Caller(project, secret, prefix=prefix.format(id=project.pk))
    assert caller.get("subscribers").json() == []
    assert caller.get("subscribe-topic").status_code == 200
    body = {"notification": notification(), "accounts": [STRANGER]}
    assert caller.post("notify", body).json()["notFound"] == [STRANGER]


def test_too_many_calls_get_429(api, settings):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, notify_project=Bucket(2, 0.01)
    )
    body = {"notification": notification(), "accounts": [STRANGER]}
    statuses = [api.post("notify", body).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    answer = api.post("notify", body)
    assert int(answer["Retry-After"]) > 0
    assert answer["X-RateLimit-Limit"] == "2"
    assert Notification.objects.count() == 2


def test_the_remaining_rate_is_in_the_headers(api):
    body = {"notification": notification(), "accounts": [STRANGER]}
    answer = api.post("notify", body)
    assert (answer["X-RateLimit-Limit"], answer["X-RateLimit-Remaining"]) == (
        "20",
        "19",
    )


def test_every_other_call_has_a_rate_too(api, project, settings):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, cast_call=Bucket(1, 0.01), document_read=Bucket(1, 0.01)
    )
    assert api.get("subscribers").status_code == 200
    assert api.get("webhooks").status_code == 429
    body = {"notification": notification(), "accounts": [STRANGER]}
    assert api.post("notify", body).status_code == 200
    path = f"/dapps/{project.slug}/.well-known/did.json"
    assert [Client().get(path).status_code for _ in range(2)] == [200, 429]


def test_a_dapp_in_a_browser_may_call(api):
    answer = api.call("OPTIONS", "notify")
    assert answer.status_code == 204
    assert answer["Access-Control-Allow-Origin"] == "*"
    assert "Authorization" in answer["Access-Control-Allow-Headers"]
    assert api.get("subscribers")["Access-Control-Allow-Origin"] == "*"


# --- who may --------------------------------------------------------------------------

CALLS = [
    ("GET", "subscribe-topic"),
    ("POST", "subscribe-topic"),
    ("GET", "authentication-key"),
    ("POST", "notify"),
    ("GET", "subscribers"),
    ("POST", "register-webhook"),
    ("GET", "webhooks"),
    ("PUT", "webhooks/0"),
    ("DELETE", "webhooks/0"),
    ("GET", "welcome-notification"),
    ("POST", "welcome-notification"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize("header", [None, "Bearer", "Bearer wrong", "Basic x"])
def test_without_the_secret_nothing_is_revealed(project, method, path, header):
    headers = {} if header is None else {"Authorization": header}
    answer = Client().generic(method, f"/cast/{project.pk}/{path}", headers=headers)
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"
    assert answer.json()["reason"]


def test_charlie_cannot_use_our_project_with_his_own_secret(project):
    _, foreign = create_project("Other", url="https://other.example.org")
    answer = Caller(project, foreign).get("subscribers")
    unknown = Client().get(
        "/cast/" + "0" * 32 + "/subscribers",
        headers={"Authorization": f"Bearer {foreign}"},
    )
    # Forbidden and absent look the same.
    assert answer.status_code == unknown.status_code == 401
    assert answer.json()["detail"] == unknown.json()["detail"]


def test_guessing_secrets_is_slowed_down(project, settings):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, failed_sign_in=Bucket(3, 0.01)
    )
    caller = Caller(project, "wrong")
    statuses = [caller.get("subscribers").status_code for _ in range(4)]
    assert statuses == [401, 401, 401, 429]


def test_the_time_of_the_last_use_is_noted(api, project):
    api.get("subscribers")
    assert project.secrets.get().last_used_at is not None


# --- malformed ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "{",
        "null",
        "[]",
        '"x"',
        "{'a': 1}",
        '{"notification": NaN}',
        '{"notification": "\\ud800"}',
        '{"notification": {}, "accounts": []}',
        json.dumps({"notification": notification(title=5), "accounts": []}),
        json.dumps({"notification": notification(title="x" * 65), "accounts": []}),
        json.dumps({"notification": notification(title="a\u0000b"), "accounts": []}),
        json.dumps({"notification": notification(body="a\u0000b"), "accounts": []}),
        json.dumps({"notification": notification(), "accounts": "x"}),
        json.dumps({"notification": notification(), "accounts": [5]}),
        json.dumps({"notification": notification(), "accounts": ["a\u0000"]}),
        json.dumps({"notification": notification(type="a b"), "accounts": []}),
        b"\xff\xfe",
    ],
)
def test_a_malformed_call_is_the_callers_fault(api, raw):
    before = counts()
    answer = api.post("notify", raw=raw)
    assert answer.status_code in {400, 422}
    assert answer["Content-Type"].startswith("application/problem+json")
    value = answer.json()
    assert value["status"] == answer.status_code
    assert value["error"] == value["reason"] == value["detail"]
    assert counts() == before


def test_a_deep_body_is_refused_before_it_is_read(api, settings):
    deep = "[" * 33 + "]" * 33
    answer = api.post("notify", raw=deep)
    assert (answer.status_code, "deep" in answer.json()["detail"]) == (400, True)
    # Brackets in a text are text.
    body = {"notification": notification(body="[" * 200), "accounts": []}
    assert api.post("notify", body).status_code == 200


def test_a_long_body_is_refused_before_it_is_read(api, settings):
    answer = api.post("notify", raw="x" * (settings.LIMITS.json_body_bytes + 1))
    assert answer.status_code == 413


def test_unknown_paths_and_methods(api, project):
    assert api.get("nothing").status_code == 404
    answer = api.call("DELETE", "notify")
    assert answer.status_code == 405
    assert "POST" in answer["Allow"]


# --- idempotency ----------------------------------------------------------------------


def test_a_repeated_call_gets_the_first_answer(api, alice, project, settings):
    settings.LIMITS = dataclasses.replace(
        settings.LIMITS, notify_project=Bucket(1, 0.01)
    )
    alice.subscribe(project)
    body = {"notification": notification(), "accounts": [str(alice.account)]}
    headers = {"Idempotency-Key": "one"}
    first = api.post("notify", body, headers=headers)
    second = api.post("notify", body, headers=headers)
    assert first.content == second.content
    assert second["Idempotent-Replayed"] == "true"
    assert len(sent(tag=4002)) == 1
    # A repeat spends no quota, another key does.
    other = api.post("notify", body, headers={"Idempotency-Key": "two"})
    assert other.status_code == 429


def test_a_key_is_for_one_body(api, project):
    body = {"notification": notification(), "accounts": [STRANGER]}
    headers = {"Idempotency-Key": "one"}
    api.post("notify", body, headers=headers)
    body["notification"]["title"] = "Other"
    answer = api.post("notify", body, headers=headers)
    assert answer.status_code == 422
    assert Notification.objects.count() == 1


def test_a_call_that_is_still_running_is_409(api, project):
    from castserver.services.idempotency import _reserve, request_digest

    body = {"notification": notification(), "accounts": [STRANGER]}
    raw = json.dumps(body)
    digest = request_digest(b"POST", b"notify", raw.encode())
    assert _reserve(project, "one", digest=digest) is not None
    headers = {"Idempotency-Key": "one"}
    refused = api.post("notify", raw=raw, headers=headers)
    assert (refused.status_code, refused["Retry-After"]) == (409, "1")
    # Cut off: when its lease is over, a repeat does the work.
    IdempotentCall.objects.update(leased_until=clock.now())
    assert api.post("notify", raw=raw, headers=headers).status_code == 200


def test_the_reservation_of_a_killed_process_is_void_at_once(api, project):
    from castserver.services.idempotency import _reserve, request_digest

    raw = json.dumps({"notification": notification(), "accounts": [STRANGER]})
    digest = request_digest(b"POST", b"notify", raw.encode())
    _reserve(project, "one", digest=digest)
    IdempotentCall.objects.update(leased_by=2**31 - 1)
    answer = api.post("notify", raw=raw, headers={"Idempotency-Key": "one"})
    assert answer.status_code == 200
    assert "Idempotent-Replayed" not in answer


def test_a_call_that_lost_its_reservation_does_nothing(project):
    from castserver.services import idempotency

    def work():
        # Another process takes the reservation over while this one is at work.
        IdempotentCall.objects.update(leased_until=clock.now())
        assert idempotency._reserve(project, "one", digest="d" * 64) is not None
        Notification.objects.create(
            project=project, type="t", title="t", body="b", created_at=clock.now()
        )
        return idempotency.Outcome(200, {})

    with pytest.raises(StillRunning):
        idempotency.once(project, "one", digest="d" * 64, work=work)
    assert Notification.objects.count() == 0


def test_a_key_is_forgotten_after_a_day(api, project):
    from datetime import timedelta

    from castserver.services.idempotency import forget_old

    body = {"notification": notification(), "accounts": [STRANGER]}
    headers = {"Idempotency-Key": "one"}
    api.post("notify", body, headers=headers)
    assert forget_old() == 0
    with clock.frozen(clock.now() + timedelta(hours=25)):
        body["notification"]["title"] = "Other"
        assert api.post("notify", body, headers=headers).status_code == 200
        assert forget_old() == 0
    assert Notification.objects.count() == 2


def test_what_failed_may_be_tried_again_under_its_key(api, project):
    headers = {"Idempotency-Key": "one"}
    body = {"events": ["subscribed"], "webhook": "http://10.0.0.1/x"}
    assert api.post("register-webhook", body, headers=headers).status_code == 422
    body["webhook"] = "https://hooks.example.org"
    assert api.post("register-webhook", body, headers=headers).status_code == 201


def test_two_projects_share_no_keys(api, project):
    other, secret = create_project(
        "Other", url="https://other.example.org", types=[TypeDraft("alerts")]
    )
    body = {"notification": notification(), "accounts": [STRANGER]}
    headers = {"Idempotency-Key": "one"}
    api.post("notify", body, headers=headers)
    body["notification"]["title"] = "Other"
    assert (
        Caller(other, secret).post("notify", body, headers=headers).status_code == 200
    )


def test_a_replayed_webhook_shows_its_secret_again_and_seals_it(api, project):
    body = {"events": ["subscribed"], "webhook": "https://hooks.example.org"}
    headers = {"Idempotency-Key": "one"}
    first = api.post("register-webhook", body, headers=headers).json()
    assert api.post("register-webhook", body, headers=headers).json() == first
    assert Webhook.objects.count() == 1
    kept = bytes(IdempotentCall.objects.get().answer)
    assert first["secret"].encode() not in kept


# --- webhooks -------------------------------------------------------------------------


def test_webhooks_are_registered_listed_changed_and_deleted(api, project):
    body = {
        "events": ["subscribed", "unsubscribed"],
        "webhook": "https://a.example.org",
    }
    answer = api.post("register-webhook", body)
    assert answer.status_code == 201
    made = answer.json()
    assert made["secret"].startswith("whsec_")
    assert api.get("webhooks").json() == {
        made["id"]: {
            "url": "https://a.example.org",
            "webhook": "https://a.example.org",
            "events": ["subscribed", "unsubscribed"],
        }
    }
    change = {"events": ["subscribed"], "url": "https://b.example.org"}
    assert api.put(f"webhooks/{made['id']}", change).status_code == 204
    assert api.get("webhooks").json()[made["id"]]["webhook"] == "https://b.example.org"
    for _ in range(2):
        assert api.delete(f"webhooks/{made['id']}").status_code == 204
    assert api.get("webhooks").json() == {}
    assert api.put(f"webhooks/{made['id']}", change).status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/x",
        "https://example.org:8443/x",
        "https://user:pw@example.org",
        "ftp://example.org",
        "nonsense",
        "https://",
        "https://example.org/" + "x" * 2048,
        "https://example.org/a b",
        "https://example.org/#x",
        "https://-bad-.example/h",
        "https://a..example/h",
        f"https://{'a' * 64}.example/h",
        "https://intranet/h",
        "https://10.0.0.1/h",
        "https://127.1/h",
    ],
)
def test_webhooks_go_to_the_public_only(api, url):
    body = {"events": ["subscribed"], "webhook": url}
    answer = api.post("register-webhook", body)
    assert answer.status_code == 422
    assert answer.json()["field"].endswith("webhook")
    assert answer.json()["detail"]
    assert Webhook.objects.count() == 0


@pytest.mark.parametrize(
    "url",
    [
        "https://a1b2c3d4e5.execute-api.us-east-1.amazonaws.com/prod/hook",
        "https://my-notification-webhook-service-3xq5k2-uc.a.run.app/hook",
        f"https://{'a' * 63}.{'b' * 63}.{'c' * 63}.example/h",
        f"https://{'a.' * 125}abc/h",
        "https://hooks.dapp.example/in?next=https://dapp.example/x&sp=%2Ftriggers%2Frun",
        "https://hooks.dapp.example/a%20b/@me;v=1/~x,y(z)!*'",
        "https://m\u00fcnchen.example:443/hook",
        "https://example.org/" + "x" * 400,
    ],
)
def test_webhooks_go_wherever_dns_leads(api, url):
    body = {"events": ["subscribed"], "webhook": url}
    answer = api.post("register-webhook", body)
    assert answer.status_code == 201, answer.content
    assert Webhook.objects.get().url == url


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://new.example.org:443/?utm_source=x#top", "https://new.example.org"),
        ("new.example.org", "https://new.example.org"),
        ("https://m\u00fcnchen.example/shop/", "https://xn--mnchen-3ya.example/shop"),
        (f"https://{'a.' * 125}abc", f"https://{'a.' * 125}abc"),
        (
            "https://dapp-git-feature-notifications-acme-labs.vercel.app",
            "https://dapp-git-feature-notifications-acme-labs.vercel.app",
        ),
        ("http://[::1]:80/x", "http://[::1]/x"),
    ],
)
def test_a_dapps_address_gets_its_one_spelling(api, project, given, url):
    for member in ("dappUrl", "appDomain"):
        api.post("subscribe-topic", {"dappUrl": "https://before.example.org"})
        answer = api.post("subscribe-topic", {member: given})
        assert answer.status_code == 200, answer.content
        project.refresh_from_db()
        assert project.url == url


def test_two_spellings_of_one_address_belong_to_one_dapp(api):
    create_project("Other", url="https://other.example.org:443/")
    answer = api.post("subscribe-topic", {"dappUrl": "https://other.example.org./?a"})
    assert (answer.status_code, answer.json()["field"]) == (409, "url")


@pytest.mark.parametrize("given", ["https://-a.example", "https://u@a.example", "a b"])
def test_a_dapps_address_that_is_none_is_refused(api, project, given):
    for member in ("dappUrl", "appDomain"):
        answer = api.post("subscribe-topic", {member: given})
        assert answer.status_code == 422
        assert "not the address of a dapp" in answer.json()["detail"]


@pytest.mark.parametrize("events", [[], ["other"], ["subscribed", 5], "subscribed"])
def test_webhooks_register_for_known_events_only(api, events):
    body = {"events": events, "webhook": "https://example.org"}
    assert api.post("register-webhook", body).status_code == 422


def test_webhooks_are_bounded(api, settings):
    settings.LIMITS = dataclasses.replace(settings.LIMITS, webhooks_per_project=1)
    body = {"events": ["subscribed"], "webhook": "https://example.org"}
    assert api.post("register-webhook", body).status_code == 201
    assert api.post("register-webhook", body).status_code == 429


def test_charlies_webhooks_are_not_ours(api, project):
    other, secret = create_project("Other", url="https://other.example.org")
    charlie = Caller(other, secret)
    body = {"events": ["subscribed"], "webhook": "https://example.org"}
    made = api.post("register-webhook", body).json()["id"]
    assert charlie.get("webhooks").json() == {}
    assert charlie.put(f"webhooks/{made}", body).status_code == 404
    assert charlie.delete(f"webhooks/{made}").status_code == 204
    assert Webhook.objects.count() == 1


# --- subscribers, welcome, links ------------------------------------------------------


def test_subscribers_v1_returns_the_types(api, alice, project):
    alice.subscribe(project)
    client = Caller(project, api.secret, prefix=f"/cast/v1/{project.pk}")
    lower = str(alice.account).lower()
    answer = client.post("subscribers", {"accounts": [lower, STRANGER, "rubbish"]})
    assert answer.json() == {
        lower: {"notification_types": ["alerts", "news", "gm_hourly"]}
    }
    assert client.post("subscribers", {"accounts": []}).status_code == 422


def test_welcome_is_sent_once_to_a_new_subscriber(api, alice, project):
    assert api.get("welcome-notification").json() is None
    welcome = {
        "enabled": True,
        "type": "news",
        "title": "Welcome",
        "body": "Good to have you",
        "url": None,
    }
    client = Caller(project, api.secret, prefix=f"/cast/v0/{project.pk}")
    assert client.post("welcome-notification", welcome).status_code == 204
    assert api.get("welcome-notification").json() == welcome
    first = alice.subscribe(project)
    second = alice.subscribe(project)
    assert len(open_all(first.sym_key, 4002)) == 1
    assert open_all(second.sym_key, 4002) == []


def test_welcome_respects_the_scope_and_the_switch(api, alice, bob, project):
    from walletconnect.notify.scope import ScopeMap

    welcome = {"enabled": True, "type": "news", "title": "W", "body": "b"}
    api.post("welcome-notification", welcome)
    alice.subscribe(project, scope=ScopeMap())
    api.post("welcome-notification", welcome | {"enabled": False})
    bob.subscribe(project)
    assert sent(tag=4002) == []


def test_a_link_is_followed_and_counted(api, alice, project):
    from castserver.models import Delivery

    Project.objects.update(counts_clicks=True)
    subscription = alice.subscribe(project)
    body = {"notification": notification(), "accounts": [str(alice.account)]}
    api.post("notify", body)
    delivery = Delivery.objects.get()
    from tests.castserver.world import claims_of

    [request] = open_all(subscription.sym_key, 4002)
    link = claims_of(request.params["messageAuth"])["msg"]["url"]
    assert link.endswith(f"/cast/v1/notification/{delivery.pk}")
    answer = Client().get(f"/cast/v1/notification/{delivery.pk}")
    assert (answer.status_code, answer["Location"]) == (307, notification()["url"])
    Client().get(f"/cast/v1/notification/{delivery.pk}")
    delivery.refresh_from_db()
    assert delivery.open_count == 2
    for unknown in ("x", "00000000-0000-7000-8000-000000000000"):
        answer = Client().get(f"/cast/v1/notification/{unknown}")
        assert answer.status_code == 404


def test_health_needs_no_secret():
    assert Client().get("/cast/health").json() == {"status": "ok"}


def test_the_description_has_every_call_and_its_errors():
    schema = Client().get("/cast/openapi.json").json()
    assert schema["openapi"].startswith("3.1")
    paths = set(schema["paths"])
    for tail in (
        "subscribe-topic",
        "authentication-key",
        "notify",
        "subscribers",
        "register-webhook",
        "webhooks",
        "webhooks/{webhook_id}",
        "welcome-notification",
    ):
        assert f"/cast/{{project_id}}/{tail}" in paths
    for tail in ("notify", "subscribers", "mark-all-as-read"):
        assert f"/cast/v1/{{project_id}}/{tail}" in paths
    refused = schema["paths"]["/cast/{project_id}/notify"]["post"]["responses"]["422"]
    assert list(refused["content"]) == ["application/problem+json"]


def test_addresses_have_names():
    from django.urls import reverse

    assert reverse("castserver:notify", args=["p"]) == "/cast/p/notify"
    assert (
        reverse("castserver:subscribe-topic", args=["p"]) == "/cast/p/subscribe-topic"
    )
    assert reverse("castserver:notify-v1", args=["p"]) == "/cast/v1/p/notify"


def test_the_description_page_lists_every_call_and_needs_no_script(settings):
    settings.ROOT_URLCONF = "notifyweb.urls"
    page = Client().get("/cast/docs").content.decode()
    described = Client().get("/cast/openapi.json").json()
    for path, methods in described["paths"].items():
        assert f"<code>{path}</code>" in page
        for operation in methods.values():
            assert f'id="{operation["operationId"]}"' in page
    for name in described["components"]["schemas"]:
        assert f'id="schema-{name}"' in page
    operations = page.partition('id="schema-')[0]
    assert "`" not in operations
    assert "anyOf" not in operations
    assert len(page) < 150_000


def test_a_message_to_everyone_is_not_lost_between_two_calls(api, alice, project):
    """Same account twice in one call and twice in a row: one message per call."""
    subscription = alice.subscribe(project)
    body = {"notification": notification(), "accounts": [str(alice.account)] * 3}
    assert api.post("notify", body).json()["sent"] == [str(alice.account)]
    api.post("notify", body)
    assert len(open_all(subscription.sym_key, 4002)) == 2
    deliver()


# --- as the server of 2024 answers ----------------------------------------------------


def v1(api, project):
    return type(api)(project, api.secret, prefix=f"/cast/v1/{project.pk}")


@pytest.mark.parametrize("member", ["icon", "url"])
def test_an_empty_icon_or_link_is_refused_by_v1(project, alice, api, member):
    """Unversioned calls take it: notify-client's own tests send an empty icon there."""
    alice.subscribe(project)
    call = {"notification": notification(), "accounts": [str(alice.account)]}
    call["notification"][member] = ""
    refused = v1(api, project).post("notify", [call])
    assert refused.status_code == 422
    assert refused.json()["field"] == f"/0/notification/{member}"
    assert not Delivery.objects.exists()
    del call["notification"][member]
    assert v1(api, project).post("notify", [call]).json()["sent"] == call["accounts"]
    call["notification"][member] = ""
    assert api.post("notify", call).json()["sent"] == call["accounts"]


@pytest.mark.parametrize("version", ["", "v1"])
def test_a_type_that_is_not_there_is_refused(project, alice, api, version):
    alice.subscribe(project)
    call = {
        "notification": notification(type="junk"),
        "accounts": [str(alice.account)],
    }
    if version:
        answer = v1(api, project).post("notify", [call])
    else:
        answer = api.post("notify", call)
    assert answer.status_code == 422
    assert "no type junk" in answer.json()["error"]
    assert not Notification.objects.exists()


def test_a_type_that_only_a_subscription_contains_is_sent(project, alice, api):
    """A dapp that serves its own documents may offer types that are not listed here."""
    alice.subscribe(project)
    Subscriber.objects.update(scope=["elsewhere"])
    call = {
        "notification": notification(type="elsewhere"),
        "accounts": [str(alice.account)],
    }
    assert api.post("notify", call).json()["sent"] == call["accounts"]


def test_a_welcome_needs_a_type_that_is_there(project, api):
    welcome = {"enabled": True, "type": "junk", "title": "t", "body": "b"}
    assert api.post("welcome-notification", welcome).status_code == 422
    assert (
        api.post("welcome-notification", welcome | {"type": "news"}).status_code == 204
    )


def test_one_malformed_account_does_not_stop_the_others(project, alice, api):
    """The server of 2024 refuses the whole call; see docs/interop.md."""
    alice.subscribe(project)
    call = {
        "notification": notification(),
        "accounts": [str(alice.account), alice.account.address],
    }
    answer = v1(api, project).post("notify", [call]).json()
    assert answer["sent"] == [str(alice.account)]
    assert [each["account"] for each in answer["failed"]] == [alice.account.address]


@pytest.mark.parametrize(
    "account",
    [
        "eip155:1:0xab16",
        f"eip155:1:0x{'g' * 40}",
        f"eip155:1:{'a' * 42}",
        f"eip155:1:0x{'a' * 41}",
        # The checksum of this address ends in dEaD.
        "eip155:1:0x000000000000000000000000000000000000dEAD",
    ],
)
def test_an_invalid_address_is_failed_and_not_unknown(api, account):
    answer = api.post("notify", {"notification": notification(), "accounts": [account]})
    assert answer.json()["not_found"] == answer.json()["notFound"] == []
    [failed] = answer.json()["failed"]
    assert failed["account"] == account
    assert "address" in failed["reason"]


def test_a_subscriber_is_found_in_any_letter_case(api, alice, project):
    alice.subscribe(project)
    address = alice.account.address
    account = f"eip155:1:0x{address[2:].swapcase()}"
    call = {"notification": notification(), "accounts": [account]}
    assert api.post("notify", call).json()["sent"] == [account]


NOT_LINKS = [
    "http://dapp.example.org/x",
    "javascript:alert(1)",
    "data:image/png;base64,AAAA",
    "//dapp.example.org/x",
    "dapp.example.org",
    "https://",
    "https://user:pass@dapp.example.org",
    "https://dapp.example.org:99999",
    "https://dapp.example.org/a b",
    "https:\\\\dapp.example.org",
]


@pytest.mark.parametrize("link", NOT_LINKS)
def test_links_and_icons_are_https(api, project, link):
    before = counts()
    for member in ("icon", "url"):
        call = {"notification": notification(**{member: link}), "accounts": [STRANGER]}
        assert api.post("notify", call).status_code == 422
        assert v1(api, project).post("notify", [call]).status_code == 422
    assert api.put("notification-types", [{"id": "a", "icon": link}]).status_code == 422
    welcome = {
        "enabled": True,
        "type": "alerts",
        "title": "t",
        "body": "b",
        "url": link,
    }
    assert api.post("welcome-notification", welcome).status_code == 422
    with pytest.raises(Invalid):
        describe(project, name="Dapp", icon=link)
    with pytest.raises(Invalid):
        create_project("Dapp", icon=link)
    assert counts() == before


@pytest.mark.parametrize(
    ("link", "allowed"),
    [
        ("http://localhost:3000/a?b#c", []),
        ("http://127.0.0.1:3000", []),
        ("http://[::1]/", []),
        ("http://dapp.lan/", ["dapp.lan"]),
        ("https://dapp.example.org:8443/a?b=c#d", []),
    ],
)
def test_plain_http_is_for_development_hosts(api, settings, link, allowed):
    settings.OUTBOUND_ALLOW = allowed
    call = {"notification": notification(url=link, icon=link), "accounts": [STRANGER]}
    answer = api.post("notify", call)
    assert (answer.status_code, answer.json().get("notFound")) == (200, [STRANGER])


@pytest.mark.parametrize("text", [r'"\ud800"', r'"a\udc00b"', r'{"\ud800": 1}'])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "subscribe-topic"),
        ("POST", "notify"),
        ("POST", "register-webhook"),
        ("POST", "welcome-notification"),
        ("PUT", "notification-types"),
        ("PUT", "webhooks/00000000-0000-0000-0000-000000000000"),
    ],
)
def test_lone_surrogates_are_malformed_json(api, method, path, text):
    before = counts()
    for raw in (text, f"[{text}]", f'{{"notification": {text}, "accounts": []}}'):
        assert api.call(method, path, raw=raw).status_code == 400
    assert counts() == before


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "hooks.localhost",
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.10",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104  # refused here, not bound to
        "[::1]",
        "[fd00::1]",
        "[::ffff:10.0.0.1]",
        "127.1",
        "0x7f000001",
        "2130706433",
        "intranet",
        "printer.local",
        "metadata.google.internal",
        "router.home.arpa",
        "hooks.invalid",
    ],
)
def test_an_unreachable_webhook_address_is_refused(api, project, settings, host):
    settings.OUTBOUND_ALLOW = []
    body = {"events": ["subscribed"], "webhook": f"https://{host}/hook"}
    assert api.post("register-webhook", body).status_code == 422
    fine = {"events": ["subscribed"], "webhook": "https://hooks.example.org"}
    webhook_id = api.post("register-webhook", fine).json()["id"]
    assert api.put(f"webhooks/{webhook_id}", body).status_code == 422
    with pytest.raises(Invalid):
        register_webhook(project, body["webhook"], events=["subscribed"])
    assert Webhook.objects.get().url == "https://hooks.example.org"


def test_an_allowed_private_host_may_be_registered(api, settings):
    settings.OUTBOUND_ALLOW = ["localhost", "10.1.2.3"]
    for url in ("http://localhost:9000/hook", "http://10.1.2.3/hook"):
        body = {"events": ["subscribed"], "webhook": url}
        assert api.post("register-webhook", body).status_code == 201
