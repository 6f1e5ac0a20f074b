"""Sweep, prune, replay, cancel, and what people see of it."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from common import clock
from messaging import outbox, services
from messaging.models import InboxMessage, OutboxMessage, Party, TopicSubscription
from notifyweb.operations.queues import depths
from runlog import services as runlog
from runlog.models import StepRecord
from runlog.services import StepDraft
from tests.messaging.conftest import (
    envelope,
    make_key,
    publication,
    publish,
    received,
    states,
)

pytestmark = pytest.mark.usefixtures("canary")


def days_later(days: float):
    return clock.frozen(clock.now() + timedelta(days=days))


def test_the_sweep_finds_nothing_where_nothing_is_due():
    found = services.sweep()
    assert (found.inbox, found.outbox, found.topics) == (False, (), ())


def test_the_sweep_finds_everything_that_is_due(handler):
    key = make_key()
    services.receive(Party.WALLET, [received(key, envelope(key))])
    outbox.publish_all(Party.CAST, [publication(key)])
    outbox.subscribe(Party.WALLET, [key.topic])
    found = services.sweep()
    assert found.inbox
    assert (found.outbox, found.topics) == ((Party.CAST,), (Party.WALLET,))
    services.handle_due(10)
    assert not services.sweep().inbox


def test_what_a_worker_is_at_is_asked_for_and_left_alone(handler):
    """Who has it may be gone: the sweep cannot know, a claim finds out."""
    from messaging import inbox

    key = make_key()
    services.receive(Party.WALLET, [received(key, envelope(key))])
    inbox.claim()
    assert services.sweep().inbox
    assert not inbox.claim().rows
    with clock.frozen(clock.now() + inbox.LEASE):
        assert inbox.claim().rows


def test_marks_of_handled_messages_outlive_every_copy_at_a_relay(handler):
    key = make_key()
    message = received(key, envelope(key))
    services.receive(Party.WALLET, [message])
    services.handle_due(10)
    with days_later(30):
        services.prune()
        assert services.receive(Party.WALLET, [message]) == []
    with days_later(31.1):
        services.prune()
    assert states() == []


def test_pruning_goes_in_batches_and_takes_only_what_is_done(handler, monkeypatch):
    monkeypatch.setattr(services, "PRUNE_BATCH", 3)
    key = make_key()
    outbox.publish_all(Party.CAST, [publication(key, n) for n in range(10)])
    OutboxMessage.objects.exclude(pk__in=OutboxMessage.objects.all()[:2]).update(
        state="sent"
    )
    services.receive(Party.WALLET, [received(key, envelope(key))])
    with days_later(32):
        assert services.prune() == 8
    assert states(OutboxMessage) == ["due", "due"]
    assert states() == ["due"]


def test_a_refused_envelope_is_kept_for_a_day(handler):
    key = make_key()
    services.receive(Party.WALLET, [received(key, envelope(key), 5999)])
    services.handle_due(10)
    services.prune()
    assert InboxMessage.objects.get().message
    with days_later(1.1):
        services.prune()
    row = InboxMessage.objects.get()
    assert (row.state, row.message) == ("refused", "")


def test_a_topic_given_up_long_ago_is_forgotten():
    outbox.subscribe(Party.WALLET, ["ab" * 32, "cd" * 32])
    outbox.unsubscribe(Party.WALLET, ["ab" * 32])
    TopicSubscription.objects.update(confirmed_at=clock.now())
    with days_later(1.1):
        services.prune()
    assert TopicSubscription.objects.get().topic == "cd" * 32


def test_failed_messages_can_be_replayed(handler):
    keys = [make_key(), make_key()]
    handler.on_run = lambda messages: 1 / 0
    services.receive(Party.WALLET, [received(key, envelope(key)) for key in keys])
    services.handle_due(10)
    InboxMessage.objects.update(state="failed")
    handler.on_run = lambda messages: None
    output = StringIO()
    call_command("replay_inbox", "--topic", keys[1].topic, "--json", stdout=output)
    assert json.loads(output.getvalue()) == {"state": "failed", "replayed": 1}
    services.handle_due(10)
    assert states() == ["failed", "handled"]


def test_refused_messages_can_be_replayed_after_an_upgrade(make_handler):
    key = make_key()
    services.receive(Party.WALLET, [received(key, envelope(key), 5777)])
    services.handle_due(10)
    handler = make_handler(5777)
    call_command("replay_inbox", "--state", "refused", stdout=StringIO())
    services.handle_due(10)
    assert handler.numbers() == [1]


def test_handled_messages_are_not_replayed():
    with pytest.raises(CommandError):
        call_command("replay_inbox", "--state", "handled")
    with pytest.raises(ValueError, match="handled"):
        services.replay(InboxMessage.State.HANDLED)


def test_what_waits_can_be_cancelled_and_what_failed_be_published_again():
    key = make_key()
    first, second = publish(Party.CAST, [publication(key), publication(key)])
    assert services.cancel([first.pk]) == 1
    assert states(OutboxMessage) == ["failed", "due"]
    assert OutboxMessage.objects.get(pk=first.pk).reason == "cancelled"
    assert services.publish_again([first.pk, second.pk]) == 1
    assert states(OutboxMessage) == ["due", "due"]


def test_backlogs_count_waiting_rows(handler):
    key = make_key()
    services.receive(Party.WALLET, [received(key, envelope(key, n)) for n in range(3)])
    outbox.publish_all(Party.CAST, [publication(key)])
    found = {each.queue.name: each for each in depths()}
    waiting = found["messaging.InboxMessage"]
    assert (waiting.due, waiting.dead) == (3, 0)
    assert waiting.oldest is not None
    assert found["messaging.OutboxMessage"].due == 1
    assert found["alerts.PushDelivery"].oldest is None


# --- the record of the twenty steps -------------------------------------------------------

RUN = "ab" * 32


def test_a_step_is_recorded_once_however_often_it_happens():
    for _ in range(3):
        runlog.record(RUN, 5, "W1", wire={"tag": 4000})
    runlog.record(RUN, 19, "Wx", wire={}, actor_key="one")
    runlog.record(RUN, 19, "Wx", wire={}, actor_key="two")
    runlog.record(RUN, 1, "W1", wire={})
    assert [record.step for record in runlog.of_run(RUN)] == [1, 5, 19, 19]
    assert runlog.of_run("cd" * 32) == []
    runlog.forget([RUN])
    assert not StepRecord.objects.exists()


@pytest.mark.parametrize(
    "draft",
    [
        StepDraft("x" * 200, 5, "W1"),
        StepDraft(RUN, 2**40, "W1"),
        StepDraft(RUN, 5, "W1", {"key": object()}),
        StepDraft(RUN, 5, "W1", {"text": "\0"}),
    ],
)
def test_recording_never_fails_the_work_it_describes(draft, caplog):
    runlog.record_all([draft])
    runlog.record(RUN, 6, "W1", wire={})
    assert [record.step for record in StepRecord.objects.all()] == [6]
    assert "steps not recorded" in caplog.text


def test_each_step_is_announced_to_live_pages_once():
    from accounts.models import Account, AccountEvent, User

    user = User.objects.create_user(username="alice")
    account = Account.objects.create(
        user=user, address="eip155:1:0x" + "1" * 40, created_at=clock.now()
    )
    for _ in range(2):
        runlog.record(RUN, 5, "W1", wire={}, account_id=account.pk)
    event = AccountEvent.objects.get()
    assert (event.kind, event.subject) == ("subscribe.step", f"relay.run:{RUN}")


# --- the admin ----------------------------------------------------------------------------


@pytest.fixture
def pages(client):
    from accounts.models import User

    client.force_login(User.objects.create_superuser("root", password="x" * 20))
    return client


def test_the_admin_shows_sizes_and_no_message(pages, handler, settings):
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {
            "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        }
    }
    key = make_key()
    text = envelope(key)
    services.receive(Party.WALLET, [received(key, text)])
    [row] = publish(Party.CAST, [publication(key)])
    for model, hidden in (("inboxmessage", text), ("outboxmessage", row.message)):
        listing = pages.get(f"/admin/messaging/{model}/")
        assert key.topic in listing.text
        pk = {"inboxmessage": InboxMessage, "outboxmessage": OutboxMessage}[model]
        detail = pages.get(f"/admin/messaging/{model}/{pk.objects.get().pk}/change/")
        assert detail.status_code == 200
        assert hidden not in listing.text + detail.text


def test_an_administrator_replays_and_cancels_and_it_is_audited(pages, handler):
    from accounts.models import AuditEntry

    key = make_key()
    [row] = publish(Party.CAST, [publication(key)])
    answer = pages.post(
        "/admin/messaging/outboxmessage/",
        {"action": "cancel", "_selected_action": [row.pk]},
    )
    assert answer.status_code == 302
    row.refresh_from_db()
    assert (row.state, row.reason) == ("failed", "cancelled")
    assert AuditEntry.objects.filter(
        action="relay.cancel-outbox", actor="root"
    ).exists()
