"""Events for dapps: signed, in time, again when they failed, and never for ever."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime

import pytest
from django.conf import settings as django_settings
from standardwebhooks import Webhook as Signature
from standardwebhooks import WebhookVerificationError

from accounts.models import User
from castserver.models import Webhook, WebhookAttempt, WebhookDelivery
from castserver.services.errors import Invalid, TooMany
from castserver.services.projects.projects import create_project
from castserver.services.webhooks import sender
from castserver.services.webhooks.sender import (
    BACKOFF,
    LEASE,
    deliver_due_webhooks,
)
from castserver.services.webhooks.webhooks import (
    SubscriberEvent,
    delete_webhook,
    enable_webhook,
    queue_events,
    queue_test_event,
    register_webhook,
    replay,
    replay_range,
    rotate_secret,
)
from common import clock, histograms
from common.drain import drain
from tests.castserver.receiver import Receiver, silent_host
from walletconnect.notify.parties import WebhookEvent

LIMITS = django_settings.LIMITS
SCHEDULE = [timedelta(seconds=each) for each in BACKOFF.steps_s]
ACCOUNT = "eip155:1:0xE4b19AfEc63c68F59a07B24a77a5c291a83bc836"


@pytest.fixture
def receiver():
    with Receiver() as found:
        yield found


@pytest.fixture(autouse=True)
def loopback_is_allowed(settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]


@pytest.fixture
def registered(project, receiver):
    return register_webhook(
        project, receiver.url, events=["subscribed", "unsubscribed"]
    )


def event(project, kind=WebhookEvent.SUBSCRIBED, account=ACCOUNT):
    return SubscriberEvent(project.pk, project.url, kind, account)


def after(**delta):
    return clock.frozen(clock.now() + timedelta(**delta))


def test_an_event_arrives_signed(project, registered, receiver):
    webhook, secret = registered
    [delivery] = queue_events([event(project)])
    assert deliver_due_webhooks() == 1
    [found] = receiver.received
    assert found.headers["webhook-id"] == str(delivery.pk)
    assert found.headers["content-type"] == "application/json"
    value = Signature(secret).verify(found.body, found.headers)
    assert value == {
        "id": str(webhook.pk),
        "event": "subscribed",
        "account": ACCOUNT,
        "dappUrl": project.url,
    }
    delivery.refresh_from_db()
    assert (delivery.state, delivery.last_status) == ("delivered", 200)
    assert delivery.delivered_at is not None
    assert deliver_due_webhooks() == 0


def test_the_time_of_every_attempt_is_measured(
    project, registered, receiver, redis_client, django_capture_on_commit_callbacks
):
    queue_events([event(project)])
    with django_capture_on_commit_callbacks(execute=True):
        assert deliver_due_webhooks() == 1
    measured = histograms.totals()["attempt", "webhook"]
    assert sum(measured.counts) == 1
    assert 0 < measured.sum_s < 15


def test_a_forged_body_does_not_verify(project, registered, receiver):
    _, secret = registered
    queue_events([event(project)])
    deliver_due_webhooks()
    [found] = receiver.received
    with pytest.raises(WebhookVerificationError):
        Signature(secret).verify(found.body + b" ", found.headers)


def test_only_wanted_events_are_queued(project, receiver):
    register_webhook(project, receiver.url, events=["unsubscribed"])
    assert queue_events([event(project)]) == []
    assert len(queue_events([event(project, WebhookEvent.UNSUBSCRIBED)])) == 1


def test_each_failure_waits_longer_and_the_id_stays(project, registered, receiver):
    receiver.answers = [(500, {})] * len(SCHEDULE)
    [delivery] = queue_events([event(project)])
    at = clock.now()
    for number, wait in enumerate(SCHEDULE, start=1):
        with clock.frozen(at):
            assert deliver_due_webhooks() == 1
            delivery.refresh_from_db()
            assert (delivery.state, delivery.attempts) == ("due", number)
            delay = delivery.next_attempt_at - clock.now()
            assert wait * 0.79 <= delay <= wait * 1.21
            assert deliver_due_webhooks() == 0
        at = delivery.next_attempt_at
    with clock.frozen(at):
        assert deliver_due_webhooks() == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("delivered", 10)
    assert {each.headers["webhook-id"] for each in receiver.received} == {
        str(delivery.pk)
    }
    assert len({each.headers["webhook-timestamp"] for each in receiver.received}) == 10
    tries = WebhookAttempt.objects.filter(delivery=delivery).order_by("number")
    assert [each.status for each in tries] == [500] * 9 + [200]


def test_after_the_last_attempt_it_is_failed_and_visible(project, registered, receiver):
    receiver.answers = [(500, {})] * 10
    [delivery] = queue_events([event(project)])
    for _ in range(10):
        delivery.refresh_from_db()
        with clock.frozen(max(delivery.next_attempt_at, clock.now())):
            deliver_due_webhooks()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.reason) == ("failed", "answered 500")
    with after(days=30):
        assert deliver_due_webhooks() == 0


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(project, registered, receiver, as_date):
    with clock.frozen(clock.now().replace(microsecond=0)):
        text = format_datetime(clock.now() + timedelta(hours=1)) if as_date else "3600"
        receiver.answers = [(429, {"Retry-After": text})]
        [delivery] = queue_events([event(project)])
        deliver_due_webhooks()
        delivery.refresh_from_db()
        assert delivery.next_attempt_at - clock.now() == timedelta(hours=1)


@pytest.mark.parametrize("text", ["never", "-5", "99999999999999", ""])
def test_a_strange_retry_after_is_not(project, registered, receiver, text):
    receiver.answers = [(503, {"Retry-After": text})]
    [delivery] = queue_events([event(project)])
    deliver_due_webhooks()
    delivery.refresh_from_db()
    assert delivery.next_attempt_at - clock.now() < timedelta(hours=25)


def test_gone_disables_the_webhook(project, registered, receiver):
    webhook, _ = registered
    receiver.answers = [(410, {})]
    first, second = queue_events([event(project), event(project)])
    WebhookDelivery.objects.filter(pk=second.pk).update(
        next_attempt_at=clock.now() + timedelta(hours=1)
    )
    deliver_due_webhooks()
    webhook.refresh_from_db()
    assert webhook.disabled_at is not None
    states = set(WebhookDelivery.objects.values_list("state", flat=True))
    assert states == {"failed", "cancelled"}
    assert queue_events([event(project)]) == []
    enable_webhook(webhook)
    assert len(queue_events([event(project)])) == 1
    assert first.pk != second.pk


def test_five_dead_days_disable_the_webhook(project, registered, receiver):
    webhook, _ = registered
    receiver.answers = [(500, {})] * 10
    queue_events([event(project)])
    deliver_due_webhooks()
    with after(days=4):
        queue_events([event(project)])
        deliver_due_webhooks()
        webhook.refresh_from_db()
        assert webhook.disabled_at is None
    with after(days=5, minutes=1):
        queue_events([event(project)])
        deliver_due_webhooks()
    webhook.refresh_from_db()
    assert "5 days" in webhook.disabled_reason


def test_one_success_ends_the_dead_days(project, registered, receiver):
    webhook, _ = registered
    receiver.answers = [(500, {}), (200, {}), (500, {})]
    queue_events([event(project)])
    deliver_due_webhooks()
    webhook.refresh_from_db()
    assert webhook.failing_since is not None
    with after(days=6):
        queue_events([event(project)])
        assert deliver_due_webhooks() == 2
        webhook.refresh_from_db()
        assert webhook.disabled_at is None


def test_a_redirect_is_not_followed(project, registered, receiver):
    receiver.answers = [(302, {"Location": receiver.url})]
    [delivery] = queue_events([event(project)])
    deliver_due_webhooks()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.last_status) == ("due", 302)
    assert len(receiver.received) == 1


def test_an_address_that_became_private_is_not_called(
    project, registered, receiver, settings
):
    settings.OUTBOUND_ALLOW = []
    [delivery] = queue_events([event(project)])
    deliver_due_webhooks()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.last_status) == ("due", None)
    assert delivery.reason
    assert receiver.received == []


def test_a_refused_connection_is_a_failed_attempt(project):
    webhook, _ = register_webhook(
        project, "http://127.0.0.1:1/hook", events=["subscribed"]
    )
    [delivery] = queue_events([event(project)])
    deliver_due_webhooks()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.last_status) == ("due", None)
    webhook.refresh_from_db()
    assert webhook.failing_since is not None


def test_a_deleted_webhook_receives_nothing_more(project, registered, receiver):
    webhook, _ = registered
    queue_events([event(project)])
    delete_webhook(project, str(webhook.pk))
    assert deliver_due_webhooks() == 0
    assert receiver.received == []


def test_a_worker_that_died_leaves_its_events_to_the_next(
    project, registered, receiver
):
    [delivery] = queue_events([event(project)])
    assert len(sender._claim(10)) == 1
    assert deliver_due_webhooks() == 0
    with clock.frozen(clock.now() + LEASE):
        assert deliver_due_webhooks() == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("delivered", 2)


def test_an_outcome_that_comes_after_its_lease_changes_nothing(
    project, registered, receiver
):
    receiver.answers = [(500, {})]
    [delivery] = queue_events([event(project)])
    outcomes = [sender._send(each) for each in sender._claim(10)]
    with clock.frozen(clock.now() + LEASE):
        assert deliver_due_webhooks() == 1
        sender._record(outcomes)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("delivered", 2)
    assert Webhook.objects.get().failing_since is None


def claimed():
    """The claimed events by project, while none of them is finished."""
    found = sender._claim(1_000)
    return Counter(each.delivery.webhook.project.name for each in found)


def person(name):
    return User.objects.create(username=name)


def hook_of(name, owner, url="https://hooks.example.org/{}"):
    """A project with a webhook and more events than it has slots."""
    made, _ = create_project(name, url=f"https://{name}.example.org", owner=owner)
    register_webhook(made, url.format(name), events=["subscribed"])
    queue_events([event(made)] * (LIMITS.webhook_deliveries_per_project + 3))


def test_one_project_does_not_take_every_slot(project, registered, receiver):
    hook_of("other", None)
    queue_events([event(project)] * (LIMITS.webhook_deliveries_per_project + 3))
    assert claimed() == {
        project.name: LIMITS.webhook_deliveries_per_project,
        "other": LIMITS.webhook_deliveries_per_project,
    }
    assert claimed() == {}


def test_one_owner_has_few_slots_however_many_projects(db):
    many, one = person("many"), person("one")
    for number in range(12):
        hook_of(f"p{number}", many, f"https://h{number}.example.org/{{}}")
    hook_of("normal", one)
    found = claimed()
    assert found.pop("normal") == LIMITS.webhook_deliveries_per_project
    assert found.total() == LIMITS.webhook_deliveries_per_owner


def test_one_host_has_few_slots_and_everyone_a_turn_at_it(db):
    for number in range(2 * LIMITS.webhook_deliveries_per_host):
        hook_of(f"p{number}", person(f"p{number}"))
    found = claimed()
    assert found.total() == LIMITS.webhook_deliveries_per_host
    assert set(found.values()) == {1}


def test_a_slow_host_delays_its_own_events_only(
    project, registered, receiver, settings
):
    settings.LIMITS = replace(settings.LIMITS, webhook_deadline_s=3)
    with silent_host() as slow:
        hook_of("slow", person("slow"), slow + "/{}")
        queue_events([event(project)] * 3)
        began = time.monotonic()
        arrived_after = []

        def record(outcomes):
            arrived_after.extend(
                time.monotonic() - began
                for each in outcomes
                if each.attempt.is_accepted
            )
            webhook_delivery_record(outcomes)

        webhook_delivery_record = sender._record
        drain(sender._claim, sender._send, record, slots=8)
    assert len(arrived_after) == 3
    assert max(arrived_after) < 2
    states = Counter(WebhookDelivery.objects.values_list("state", flat=True))
    assert states == {"delivered": 3, "due": LIMITS.webhook_deliveries_per_project + 3}


def test_during_a_day_both_secrets_sign(project, registered, receiver):
    webhook, old = registered
    new = rotate_secret(webhook)
    assert new != old
    queue_events([event(project)])
    deliver_due_webhooks()
    [found] = receiver.received
    for secret in (old, new):
        Signature(secret).verify(found.body, found.headers)
    with after(hours=25):
        queue_events([event(project)])
        deliver_due_webhooks()
        headers = receiver.received[-1].headers
        assert len(headers["webhook-signature"].split()) == 1


def test_a_finished_event_can_be_replayed(project, registered, receiver):
    [delivery] = queue_events([event(project)])
    deliver_due_webhooks()
    delivery.refresh_from_db()
    replay(delivery)
    assert deliver_due_webhooks() == 1
    ids = [each.headers["webhook-id"] for each in receiver.received]
    assert ids == [str(delivery.pk)] * 2


def test_an_event_that_is_replayed_twice_is_sent_once_more(
    project, registered, receiver
):
    [delivery] = queue_events([event(project)])
    deliver_due_webhooks()
    # The page was open twice: the second press finds the event due already.
    replay(delivery)
    replay(delivery)
    assert deliver_due_webhooks() == 1
    assert deliver_due_webhooks() == 0
    assert len(receiver.received) == 2
    assert WebhookDelivery.objects.count() == 1


def test_a_time_range_is_replayed(project, registered, receiver):
    webhook, _ = registered
    receiver.answers += [(500, {}), (500, {})]
    failed = queue_events(
        [event(project, account=f"{ACCOUNT[:-1]}{n}") for n in range(2)]
    )
    deliver_due_webhooks()
    WebhookDelivery.objects.filter(pk__in=[each.pk for each in failed]).update(
        state="failed", next_attempt_at=None
    )
    [delivered] = queue_events([event(project)])
    deliver_due_webhooks()
    since, until = clock.now() - timedelta(hours=1), clock.now() + timedelta(seconds=1)
    assert (
        replay_range(webhook, since - timedelta(days=1), since, states=["failed"]) == 0
    )
    receiver.received.clear()
    assert replay_range(webhook, since, until, states=["failed"]) == 2
    # Those are due now: a second press finds nothing.
    assert replay_range(webhook, since, until, states=["failed", "cancelled"]) == 0
    deliver_due_webhooks()
    ids = {each.headers["webhook-id"] for each in receiver.received}
    assert ids == {str(each.pk) for each in failed}
    assert replay_range(webhook, since, until, states=["delivered"]) == 3
    delivered.refresh_from_db()
    assert delivered.state == "due"


@pytest.mark.parametrize(
    ("minutes", "states", "problem"),
    [
        ((0, 0), ["failed"], "ends before"),
        ((5, 1), ["failed"], "ends before"),
        ((0, 5), [], "states must be"),
        ((0, 5), ["due"], "states must be"),
    ],
)
def test_a_wrong_range_replays_nothing(project, registered, minutes, states, problem):
    webhook, _ = registered
    queue_events([event(project)])
    WebhookDelivery.objects.update(state="failed")
    now = clock.now()
    since, until = (now + timedelta(minutes=each) for each in minutes)
    with pytest.raises(Invalid, match=problem):
        replay_range(webhook, since, until, states=states)
    assert WebhookDelivery.objects.get().state == "failed"


def test_a_range_of_too_many_events_replays_none(project, registered, monkeypatch):
    webhook, _ = registered
    limits = replace(LIMITS, webhook_replays=2)
    monkeypatch.setattr(django_settings, "LIMITS", limits)
    queue_events([event(project)] * 3)
    WebhookDelivery.objects.update(state="failed")
    since, until = clock.now() - timedelta(hours=1), clock.now() + timedelta(hours=1)
    with pytest.raises(TooMany, match="more than 2 events"):
        replay_range(webhook, since, until, states=["failed"])
    assert set(WebhookDelivery.objects.values_list("state", flat=True)) == {"failed"}


def test_a_paused_webhook_is_not_replayed(project, registered):
    webhook, _ = registered
    webhook.disabled_at = clock.now()
    webhook.save()
    since, until = clock.now() - timedelta(hours=1), clock.now()
    with pytest.raises(Invalid, match="turn it on first"):
        replay_range(webhook, since, until, states=["failed"])


@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        (b"", ""),
        (b"no such account", "no such account"),
        (b"x" * 100_000, "x" * 500),
        ("😀".encode() * 1000, "😀" * 500),
        (b"a\0b\xff", "a\ufffdb\ufffd"),
        ("exe\u202egnp".encode(), "exe\ufffdgnp"),
    ],
)
def test_the_beginning_of_an_answer_is_kept(
    project, registered, receiver, body, excerpt
):
    receiver.bodies.append(body)
    queue_events([event(project)])
    deliver_due_webhooks()
    assert WebhookAttempt.objects.get().excerpt == excerpt


def test_a_test_event_is_marked_as_one(project, registered, receiver):
    webhook, _ = registered
    queue_test_event(webhook)
    deliver_due_webhooks()
    assert json.loads(receiver.received[0].body)["event"] == "test"


def test_without_its_secret_nothing_is_sent(project, registered, receiver):
    from keychain import services as keychain

    webhook, _ = registered
    keychain.forget(keychain.Holder.CAST, [f"webhook {webhook.pk}"])
    [delivery] = queue_events([event(project)])
    deliver_due_webhooks()
    delivery.refresh_from_db()
    assert (delivery.state, receiver.received) == ("due", [])
    assert "secret" in delivery.reason


def test_subscribing_does_not_wait_for_the_dapp(project, alice, registered):
    """The event is a row in the transaction; sending it is another matter."""
    alice.subscribe(project)
    [delivery] = WebhookDelivery.objects.all()
    assert (delivery.state, delivery.attempts) == ("due", 0)
