"""Forwards to ntfy, Gotify and webhooks, received by a server of our own."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from alerts.models import Forward, ForwardDelivery
from alerts.services import forwarding
from alerts.services.forwarding import ForwardError, add_forward
from common import clock, retention
from keychain.models import SecretEntry

pytestmark = pytest.mark.django_db


def test_ntfy_receives_json_for_its_topic(alice, receiver, notify, settings):
    add_forward(alice.user, "ntfy", f"{receiver.origin}/my-topic", "tk_secret")
    message = notify(title="Vote", body="Round 4")
    forwarding.send_due_forwards()
    [request] = receiver.received
    assert request.path == "/"
    assert request.headers["authorization"] == "Bearer tk_secret"
    assert json.loads(request.body) == {
        "topic": "my-topic",
        "title": "Acme DAO: Vote",
        "message": "Round 4",
        "click": f"{settings.PUBLIC_URL}/inbox/{message.pk}",
    }
    assert ForwardDelivery.objects.count() == 0


def test_gotify_receives_a_message(alice, receiver, notify):
    add_forward(alice.user, "gotify", f"{receiver.origin}/gotify/", "app-token")
    notify(title="Vote")
    forwarding.send_due_forwards()
    [request] = receiver.received
    assert request.path == "/gotify/message"
    assert request.headers["x-gotify-key"] == "app-token"
    assert json.loads(request.body)["title"] == "Acme DAO: Vote"


def test_a_webhook_receives_the_notification(alice, receiver, notify):
    add_forward(alice.user, "webhook", f"{receiver.origin}/in?key=1")
    message = notify(title="Vote", body="Round 4")
    forwarding.send_due_forwards()
    [request] = receiver.received
    value = json.loads(request.body)
    assert request.path == "/in?key=1"
    assert "authorization" not in request.headers
    assert value["id"] == message.pk
    assert value["account"] == alice.account.address
    assert (value["title"], value["body"], value["type"]) == (
        "Vote",
        "Round 4",
        "alerts",
    )


def test_one_sweep_deletes_more_than_a_batch_of_ended_deliveries(alice, monkeypatch):
    forward = add_forward(alice.user, "webhook", "https://example.com/in")
    monkeypatch.setattr(retention, "BATCH_SIZE", 2)
    ended = [ForwardDelivery(forward=forward, created_at=clock.now()) for _ in range(5)]
    ForwardDelivery.objects.bulk_create(ended)
    assert forwarding.prune() == 5


def test_failures_wait_and_a_gone_receiver_ends_it(alice, receiver, notify):
    forward = add_forward(alice.user, "webhook", receiver.url)
    receiver.answers = [(500, {}), (410, {})]
    notify()
    forwarding.send_due_forwards()
    assert ForwardDelivery.objects.get().next_attempt_at > clock.now()
    with clock.frozen(clock.now() + timedelta(minutes=1)):
        forwarding.send_due_forwards()
    forward.refresh_from_db()
    assert forward.disabled_at
    assert ForwardDelivery.objects.get().next_attempt_at is None
    notify(title="While it is off")
    assert ForwardDelivery.objects.count() == 1
    forwarding.resume_forward(forward)
    notify(title="Again")
    forwarding.send_due_forwards()
    assert json.loads(receiver.received[-1].body)["title"] == "Again"


@pytest.mark.parametrize(
    ("kind", "url", "token"),
    [
        ("mail", "https://a.example", ""),
        ("webhook", "http://a.example", ""),
        ("webhook", "https://192.168.0.1/in", ""),
        ("webhook", "https://user:pw@a.example/in", ""),
        ("ntfy", "https://ntfy.sh", ""),
        ("ntfy", "https://ntfy.sh/", ""),
        ("webhook", "https://a.example", "line\nbreak"),
        ("webhook", "https://a.example", "x" * 513),
    ],
)
def test_what_cannot_be_called_is_refused(alice, kind, url, token):
    with pytest.raises(ForwardError):
        add_forward(alice.user, kind, url, token)
    assert not Forward.objects.exists()


def test_there_is_a_limit_and_removal_forgets_the_token(alice, receiver, settings):
    made = [
        add_forward(alice.user, "webhook", receiver.url, "secret")
        for _ in range(settings.LIMITS.forwards_per_user)
    ]
    with pytest.raises(ForwardError):
        add_forward(alice.user, "webhook", receiver.url)
    for each in made:
        forwarding.remove_forward(each)
    assert not SecretEntry.objects.filter(name__startswith="forward ").exists()


def test_a_test_is_sent_on_request(alice, receiver):
    forwarding.queue_test(add_forward(alice.user, "webhook", receiver.url))
    forwarding.send_due_forwards()
    assert "test" in json.loads(receiver.received[0].body)["body"]
