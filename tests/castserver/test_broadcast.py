"""Sending to everyone: chunk by chunk, once each, in turns, until it is cancelled."""

from __future__ import annotations

import pytest

from castserver.models import Broadcast, Delivery
from castserver.services.notifications import broadcast as module
from castserver.services.notifications.broadcast import (
    cancel_broadcast,
    notify_everyone,
    send_due_broadcasts,
)
from castserver.services.notifications.delivery import CHUNK, send_due_chunk
from castserver.services.projects.projects import TypeDraft, create_project
from messaging.models import OutboxMessage
from tests.castserver.test_notify import DRAFT, many

pytestmark = pytest.mark.django_db


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 20)
    monkeypatch.setattr(module, "BROADCAST_CHUNK", 30)


def work() -> None:
    while send_due_broadcasts() or send_due_chunk():
        pass


def receivers() -> list[str]:
    return list(Delivery.objects.values_list("subscriber__topic", flat=True))


def test_a_small_project_is_sent_to_in_the_call(project):
    many(project, 12)
    assert len(notify_everyone(project, DRAFT).sent) == 12
    row = Broadcast.objects.get()
    assert row.finished_at
    assert row.sent == 12
    assert send_due_broadcasts() == 0


def test_the_call_sends_one_chunk_and_workers_the_rest(project, small_chunks):
    keys = many(project, 95)
    outcome = notify_everyone(project, DRAFT)
    assert 0 < len(outcome.sent) <= 20
    work()
    assert sorted(receivers()) == sorted(key.topic for key in keys)
    assert OutboxMessage.objects.filter(tag=4002).count() == 95
    row = Broadcast.objects.get()
    assert row.finished_at
    assert (row.sent, row.expected, row.next_attempt_at) == (95, 95, None)


def test_an_account_with_several_topics_is_in_one_chunk(project, small_chunks):
    """However chunks fall, an account counts once and gets it on each topic."""
    keys = [*many(project, 45), *many(project, 45)]
    notify_everyone(project, DRAFT)
    work()
    assert sorted(receivers()) == sorted(key.topic for key in keys)
    assert Broadcast.objects.get().sent == 45


def test_a_repeat_sends_nothing_more(project, small_chunks):
    many(project, 50)
    first = notify_everyone(project, DRAFT, notification_id="once")
    second = notify_everyone(project, DRAFT, notification_id="once")
    assert first.notification_id == second.notification_id
    work()
    assert notify_everyone(project, DRAFT, notification_id="once").sent == ()
    work()
    assert Delivery.objects.count() == 50


def test_a_worker_that_dies_in_a_chunk_loses_and_doubles_nothing(
    project, small_chunks, monkeypatch
):
    many(project, 80)
    notify_everyone(project, DRAFT)
    before = Delivery.objects.count()

    def die(name):
        if name == "broadcast.before_commit":
            raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(module, "failpoint", die)
        with pytest.raises(ZeroDivisionError):
            send_due_broadcasts()
    assert Delivery.objects.count() == before
    # Its database session would be gone; here it lives, so the lease is ended.
    Broadcast.objects.update(leased_until=None)
    work()
    assert Delivery.objects.count() == 80
    assert OutboxMessage.objects.filter(tag=4002).count() == 80


def test_a_cancelled_broadcast_stops(project, small_chunks):
    many(project, 95)
    outcome = notify_everyone(project, DRAFT)
    notification = project.notifications.get(pk=outcome.notification_id)
    assert cancel_broadcast(notification)
    assert not cancel_broadcast(notification)
    work()
    assert Delivery.objects.count() == len(outcome.sent)
    assert Broadcast.objects.get().is_cancelled


def test_owners_take_turns(project, small_chunks):
    types = [TypeDraft("alerts")]
    other, _ = create_project("Other", url="https://other.example", types=types)
    many(project, 90)
    many(other, 40)
    notify_everyone(project, DRAFT)
    notify_everyone(other, DRAFT)
    for _ in range(4):
        send_due_broadcasts()
        while send_due_chunk():
            pass
        Broadcast.objects.filter(finished_at=None).update(leased_until=None)
    assert Broadcast.objects.get(notification__project=other).finished_at


def test_the_queries_of_a_chunk_do_not_grow(
    project, monkeypatch, django_assert_max_num_queries
):
    monkeypatch.setattr(module, "CHUNK", 5)
    many(project, 400)
    notify_everyone(project, DRAFT)
    with django_assert_max_num_queries(30):
        send_due_broadcasts()
    assert Broadcast.objects.get().sent == 400
    assert CHUNK >= 400
