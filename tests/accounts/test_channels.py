"""Notification channels: which events they receive, when, and what their failure undoes."""

from __future__ import annotations

import pytest
from django.db import transaction

from accounts import channels
from accounts.channels import Channel
from accounts.events import EventDraft, head_of, record_events
from accounts.models import EventKind
from tests.people import ALICE, BOB, sign_in

pytestmark = pytest.mark.django_db


class RecordingChannel(Channel):
    name = "recording"
    kinds = frozenset({EventKind.MESSAGE, EventKind.READ, EventKind.DELETE})

    def __init__(self):
        self.received = []

    def deliver(self, batches):
        self.received.append(
            [
                (each.user_id, each.head.sequence, [e.subject for e in each.events])
                for each in batches
            ]
        )


class FailingChannel(Channel):
    name = "failing"

    def deliver(self, batches):
        raise ZeroDivisionError


@pytest.fixture
def register():
    added = []

    def add(channel):
        channels.register(channel)
        added.append(channel)
        return channel

    yield add
    for channel in added:
        channels.unregister(channel.name)


@pytest.fixture
def alice():
    return sign_in(ALICE)


def draft(person, kind, subject):
    return EventDraft(person.row().pk, kind, subject)


def test_a_channel_receives_new_read_and_deleted_in_one_batch_per_user(alice, register):
    bob = sign_in(BOB)
    channel = register(RecordingChannel())
    record_events(
        [
            draft(ALICE, EventKind.MESSAGE, "x:1"),
            draft(BOB, EventKind.READ, "x:2"),
            draft(ALICE, EventKind.DELETE, "x:3"),
        ]
    )
    (batches,) = channel.received
    assert sorted(batches) == sorted(
        [
            (alice.user_id, head_of(alice.user_id).sequence, ["x:1", "x:3"]),
            (bob.user_id, head_of(bob.user_id).sequence, ["x:2"]),
        ]
    )


def test_a_channel_receives_only_the_kinds_that_it_wants(alice, register):
    channel = register(RecordingChannel())
    record_events([draft(ALICE, EventKind.STEP, "x:1")])
    assert channel.received == []
    record_events(
        [draft(ALICE, EventKind.STEP, "x:2"), draft(ALICE, EventKind.MESSAGE, "x:3")]
    )
    ((batch,),) = channel.received
    assert batch[2] == ["x:3"]


def test_a_channel_that_fails_undoes_the_change(alice, register):
    start = head_of(alice.user_id)
    register(FailingChannel())
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        record_events([draft(ALICE, EventKind.MESSAGE, "x:1")])
    assert head_of(alice.user_id) == start


def test_the_live_page_is_a_channel_that_wants_every_kind():
    (live,) = [each for each in channels.registered() if each.name == "live-page"]
    assert live.kinds == frozenset(EventKind)
