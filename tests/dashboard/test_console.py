"""The console: projects, secrets, sending, webhooks and their access rules."""

from __future__ import annotations

import base64
import re
from datetime import timedelta

import pytest

from accounts.models import AuditEntry
from castserver.models import Notification, Project, Webhook, WebhookDelivery
from castserver.services.projects.demo import seed_demo
from castserver.services.projects.projects import (
    TypeDraft,
    find_secret,
    set_types,
    set_url,
)
from castserver.services.webhooks.webhooks import (
    queue_test_event,
    register_webhook,
    signing_secrets,
)
from common import clock
from subscriptions.models import DappDocument
from tests.dashboard.conftest import text_of

SECRET = re.compile(r'id="project-secret" tabindex="0">([^<]+)</pre>')


@pytest.fixture
def made(alice):
    alice.get("/console/project/new")
    answer = alice.post(
        "/console/project/new", name="Lumen", types="orders: Orders\nnews: News"
    )
    assert answer.status_code == 302
    return alice.follow(answer)


@pytest.fixture
def lumen(made) -> Project:
    return Project.objects.get()


def send(person, slug, **fields):
    person.get(f"/console/{slug}/send")
    entered = {"type": "orders", "title": "Filled", "body": "2.5 LUM", "audience": "me"}
    return person.post(f"/console/{slug}/send", once="a", **(entered | fields))


def test_the_secret_is_shown_once_and_works(alice, made, lumen):
    (secret,) = SECRET.findall(made.text)
    assert find_secret(secret).project == lumen
    assert secret in text_of(made)
    assert secret not in alice.get("/console/lumen/keys").text
    assert f"{secret[:8]}…" in alice.get("/console/lumen/keys").text


def test_a_secret_is_in_no_session_and_no_redirect(alice, made):
    (secret,) = SECRET.findall(made.text)
    session = alice.browser.client.session
    assert secret not in str(dict(session.items()))
    assert "no-store" in made.headers["Cache-Control"]


def test_secrets_are_added_and_revoked(alice, made, lumen):
    (first,) = SECRET.findall(made.text)
    page = alice.follow(alice.post("/console/lumen/keys/secrets"))
    (second,) = SECRET.findall(page.text)
    row = lumen.secrets.order_by("pk").first()
    alice.post(f"/console/lumen/keys/secrets/{row.pk}/revoke")
    assert find_secret(second).project == lumen
    with pytest.raises(Exception, match="do not match"):
        find_secret(first)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "This field is required."),
        ({"name": "x" * 65}, "at most 64 characters"),
        ({"types": ":"}, "Name at least one type."),
        ({"types": "a b: no"}, "A type's id has"),
        ({"types": "a: x\na: y"}, "A dapp offers each type once."),
        ({"url": "ftp://x.example"}, "That is not the address of a dapp"),
        ({"description": "a\nb"}, "Description is text on one line."),
    ],
)
def test_invalid_input_is_reported_and_creates_nothing(bob, fields, message):
    bob.get("/console/project/new")
    page = bob.post(
        "/console/project/new", **({"name": "Lumen", "types": "news: News"} | fields)
    )
    assert page.status_code == 422
    assert message in text_of(page)
    assert 'aria-invalid="true"' in page.text
    assert not Project.objects.exists()


def test_an_owner_can_use_a_domain_once(alice, lumen):
    for status in (302, 422):
        alice.get("/console/project/new")
        answer = alice.post(
            "/console/project/new",
            name="Other",
            url="https://app.example",
            types="news: News",
        )
        assert answer.status_code == status


def test_types_and_texts_are_changed(alice, lumen):
    alice.get("/console/lumen/types")
    alice.post("/console/lumen/types", types="orders: All orders\nprice: A price")
    assert [each.type_id for each in lumen.types.all()] == ["orders", "price"]
    alice.post("/console/lumen/settings", name="Lumen X", description="d", icon="")
    lumen.refresh_from_db()
    assert lumen.name == "Lumen X"
    assert "did:web:" in text_of(alice.get("/console/lumen/settings"))


def test_a_type_has_an_id_and_a_name_that_people_read(alice, lumen):
    line = "b2f0c1d4-0000 | Price alerts | A price | https://lumen.example/p.png"
    alice.get("/console/lumen/types")
    alice.post("/console/lumen/types", types=f"orders: Orders\n{line}")
    kept = lumen.types.last()
    assert (kept.type_id, kept.name) == ("b2f0c1d4-0000", "Price alerts")
    assert kept.icon == "https://lumen.example/p.png"
    assert line in alice.get("/console/lumen/types").text
    page = alice.get("/console/lumen/send")
    assert '<option value="b2f0c1d4-0000">Price alerts</option>' in page.text
    sent = send(alice, "lumen", type="b2f0c1d4-0000", title="Up")
    assert Notification.objects.get().type == "b2f0c1d4-0000"
    assert "Price alerts" in text_of(alice.follow(sent))
    assert "Price alerts" in text_of(alice.get("/discover"))


@pytest.mark.parametrize(
    "page",
    ["", "/send", "/subscribers", "/types", "/keys", "/webhooks", "/settings"],
)
def test_a_project_is_visible_to_its_owner_only(alice, charlie, lumen, page):
    assert alice.get(f"/console/lumen{page}").status_code == 200
    assert charlie.get(f"/console/lumen{page}").status_code == 404


def test_a_notification_ends_on_a_page_with_its_result(alice, lumen):
    answer = send(alice, "lumen")
    page = text_of(alice.follow(answer))
    assert "Filled" in page
    assert "not a subscriber" in page
    assert Notification.objects.get().title == "Filled"


def test_a_form_that_is_sent_twice_sends_once(alice, lumen):
    first = send(alice, "lumen")
    second = send(alice, "lumen")
    assert first.headers["Location"] == second.headers["Location"]
    assert Notification.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"title": ""}, "This field is required."),
        ({"title": "x" * 65}, "at most 64"),
        ({"body": "x" * 256}, "at most 255"),
        ({"type": "other"}, "Select a valid choice"),
        ({"audience": "list", "accounts": ""}, "Name at least one account."),
        (
            {
                "audience": "list",
                "accounts": " ".join(f"eip155:1:0x{n:040x}" for n in range(501)),
            },
            "At most 500 accounts",
        ),
    ],
)
def test_a_notification_that_breaks_a_rule_is_not_sent(alice, lumen, fields, message):
    page = send(alice, "lumen", **fields)
    assert page.status_code == 422
    assert message in text_of(page)
    assert not Notification.objects.exists()


def test_accounts_of_a_list_each_get_a_result(alice, lumen):
    answer = send(
        alice, "lumen", audience="list", accounts=f"eip155:1:0x{'12' * 20}, nonsense"
    )
    page = text_of(alice.follow(answer))
    assert "not a subscriber" in page
    assert "not a CAIP-10 account" in page


def test_a_bare_address_of_a_list_is_an_account(alice, lumen):
    address = alice.account.address.rpartition(":")[2]
    accounts = f"{address.lower()} eip155:137:{address}"
    page = text_of(
        alice.follow(send(alice, "lumen", audience="list", accounts=accounts))
    )
    assert "not a CAIP-10 account" not in page
    assert "not a subscriber" in page


def test_the_result_of_another_user_is_not_shown(alice, charlie, lumen):
    path = send(alice, "lumen").headers["Location"]
    assert charlie.get(path).status_code == 404


def test_the_audit_log_names_who_did_it(alice, made, lumen, client):
    """A person with the device, an API secret by its first characters."""
    alice.get("/console/lumen/types")
    alice.post("/console/lumen/types", types="orders: Orders")
    (secret,) = SECRET.findall(made.text)
    answer = client.put(
        "/cast/notification-types",
        data=[{"id": "news", "name": "News", "description": "All"}],
        content_type="application/json",
        headers={"authorization": f"Bearer {secret}", "host": "localhost:8000"},
    )
    assert answer.status_code == 200, answer.content
    entries = AuditEntry.objects.filter(action__startswith="project.")
    device = entries.earliest("pk").device
    assert device.user == alice.user
    person = (alice.user.username, device.pk)
    assert set(entries.values_list("action", "actor", "device")) == {
        ("project.created", *person),
        ("project.secret-added", *person),
        ("project.types-changed", *person),
        ("project.types-changed", f"API secret {secret[:8]}…", None),
    }


def test_a_webhooks_secret_is_shown_once(alice, lumen, settings):
    alice.get("/console/lumen/webhooks")
    page = alice.follow(
        alice.post(
            "/console/lumen/webhooks",
            url="http://localhost:9/hook",
            events=["subscribed"],
        )
    )
    assert "whsec_" in page.text
    again = alice.get("/console/lumen/webhooks")
    assert "whsec_" not in again.text
    assert "http://localhost:9/hook" in again.text


def test_a_webhook_is_tried_and_deleted(alice, charlie, lumen):
    alice.get("/console/lumen/webhooks")
    alice.post(
        "/console/lumen/webhooks", url="http://localhost:9/hook", events=["subscribed"]
    )
    webhook = Webhook.objects.get()
    path = f"/console/lumen/webhooks/{webhook.pk}"
    alice.post(path, act="test")
    assert "test" in text_of(alice.get("/console/lumen/webhooks"))
    charlie.get("/console")
    assert charlie.post(path, act="delete").status_code == 404
    alice.post(path, act="delete")
    assert not Webhook.objects.exists()


@pytest.fixture
def webhook(alice, lumen) -> Webhook:
    made, _ = register_webhook(lumen, "http://localhost:9/hook", events=["subscribed"])
    return made


def test_a_webhook_has_a_page_with_its_log(alice, charlie, lumen, webhook):
    queue_test_event(webhook)
    WebhookDelivery.objects.update(state="failed", reason="answered 500")
    path = f"/console/lumen/webhooks/{webhook.pk}"
    page = alice.get(path)
    assert "answered 500" in text_of(page)
    assert "No event is in this state" in text_of(alice.get(f"{path}?state=delivered"))
    assert alice.get(f"{path}?state=x&before=y").status_code == 200
    assert "Delete this webhook?" in text_of(alice.get(f"{path}?act=delete"))
    charlie.get("/console")
    assert charlie.get(path).status_code == 404
    for act in ("rotate", "replay"):
        assert charlie.post(f"{path}/{act}").status_code == 404


def test_the_log_of_webhooks_has_pages(alice, lumen, webhook):
    for _ in range(60):
        queue_test_event(webhook)
    first = alice.get("/console/lumen/webhooks")
    (older,) = re.findall(r'href="\?(state=&amp;before=[^"]+)"', first.text)
    second = alice.get(f"/console/lumen/webhooks?{older.replace('&amp;', '&')}")
    shown = [
        set(re.findall(r"<code>webhook-id ([0-9a-f-]{36})", page.text))
        for page in (first, second)
    ]
    assert [len(each) for each in shown] == [50, 10]
    assert not shown[0] & shown[1]


def test_a_webhooks_secret_is_rotated_and_shown_once(alice, lumen, webhook):
    path = f"/console/lumen/webhooks/{webhook.pk}"
    alice.get(path)
    page = alice.follow(alice.post(f"{path}/rotate"))
    (secret,) = set(re.findall(r"whsec_[A-Za-z0-9+/]{40,}=*", page.text))
    assert (
        base64.b64decode(secret.removeprefix("whsec_"))
        == signing_secrets(Webhook.objects.get())[0]
    )
    assert secret not in alice.get(path).text


def test_a_time_range_of_events_is_replayed(alice, lumen, webhook):
    queue_test_event(webhook)
    WebhookDelivery.objects.update(state="failed")
    path = f"/console/lumen/webhooks/{webhook.pk}"
    alice.get(path)
    day = {"since": "2020-01-01T00:00", "until": "2099-01-01T00:00"}
    wrong = [
        day | {"states": ["due"]},
        day | {"states": ["failed"], "until": "2019-01-01T00:00"},
        {"since": "yesterday", "until": "", "states": ["failed"]},
    ]
    for fields in wrong:
        assert alice.post(f"{path}/replay", **fields).status_code == 422
    assert WebhookDelivery.objects.get().state == "failed"
    page = alice.follow(alice.post(f"{path}/replay", states=["failed"], **day))
    assert "1 event will be sent again" in text_of(page)
    page = alice.follow(alice.post(f"{path}/replay", states=["failed"], **day))
    assert "no such event" in text_of(page)


def test_a_forbidden_webhook_is_refused_with_a_message(alice, lumen, settings):
    settings.OUTBOUND_ALLOW = []
    alice.get("/console/lumen/webhooks")
    page = alice.post(
        "/console/lumen/webhooks", url="http://10.0.0.1/", events=["subscribed"]
    )
    assert page.status_code == 422
    assert not Webhook.objects.exists()


# --- the demo dapp --------------------------------------------------------------------


@pytest.fixture
def demo(settings) -> Project:
    settings.DEMO = True
    return seed_demo()


def test_the_demo_dapp_sends_to_ones_own_accounts_only(alice, bob, demo):
    page = alice.get(f"/console/{demo.slug}/send")
    assert "My own accounts" in text_of(page)
    assert "Everyone" not in text_of(page)
    refused = send(
        alice, demo.slug, type="alerts", audience="list", accounts=bob.account.address
    )
    assert refused.status_code == 422
    answer = send(alice, demo.slug, type="alerts")
    assert "not a subscriber" in text_of(alice.follow(answer))
    assert bob.get(answer.headers["Location"]).status_code == 404


@pytest.mark.parametrize("page", ["/keys", "/types", "/webhooks", "/settings"])
def test_the_demo_dapp_cannot_be_changed(alice, demo, page):
    assert alice.get(f"/console/{demo.slug}{page}").status_code == 404


def test_the_steps_of_the_demo_are_marked_as_done(alice, demo):
    page = alice.get("/demo").text
    done = re.findall(r'id="script-\d+" data-done="(\w+)"', page)
    assert done == ["yes"] * 2 + ["no"] * 8


def test_there_is_no_demo_outside_demo_mode(alice, settings):
    settings.DEMO = False
    assert alice.get("/demo").status_code == 404
    assert alice.get("/join").status_code == 404
    assert "/demo" not in alice.get("/inbox").text


# --- the page of a hosted dapp --------------------------------------------------------


def test_a_hosted_dapp_has_a_page_at_its_address(alice, stranger, lumen):
    path = lumen.url.removeprefix("http://localhost:8000")
    assert path == "/dapps/lumen"
    page = stranger.get(path)
    assert page.status_code == 200
    for text in ("Lumen", "orders", "Orders", "news", "Subscribe in your inbox"):
        assert text in text_of(page)
    (link,) = re.findall(r'href="(/discover/dapp\?url=[^"]+)"', page.text)
    assert "Lumen" in text_of(alice.get(link))
    assert stranger.get(f"{path}/").status_code == 200


def test_only_hosted_dapps_have_one(stranger, lumen, demo, settings):
    assert stranger.get("/dapps/nothing").status_code == 404
    assert stranger.get(f"/dapps/{demo.slug}").status_code == 200
    settings.DEMO = False
    assert stranger.get(f"/dapps/{demo.slug}").status_code == 404
    set_url(lumen, "https://lumen.example")
    assert stranger.get("/dapps/lumen").status_code == 404


def test_changed_types_of_a_hosted_dapp_are_read_at_once(lumen):
    later = clock.now() + timedelta(hours=5)
    row = DappDocument.objects.create(
        url=lumen.url, domain="x", created_at=clock.now(), expires_at=later
    )
    set_types(lumen, [TypeDraft("votes")])
    row.refresh_from_db()
    assert row.expires_at <= clock.now()
    DappDocument.objects.update(expires_at=later)
    set_url(lumen, "https://lumen.example")
    set_types(lumen, [TypeDraft("orders")])
    row.refresh_from_db()
    assert row.expires_at == later
