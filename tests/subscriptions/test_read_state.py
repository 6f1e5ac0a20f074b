"""Read and archived: one state for all devices of a user."""

from __future__ import annotations

import pytest

from accounts.models import AccountEvent
from common import clock
from subscriptions import services
from subscriptions.models import NotifyMessageRecord
from tests.subscriptions.world import deliver

ACTS = {
    "mark_read": ("read_at", services.mark_read, services.mark_unread),
    "archive": ("archived_at", services.archive, services.unarchive),
}


@pytest.fixture
def records(alice, dapp, subscription):
    deliver(*(dapp.notification(alice.account) for _ in range(3)))
    AccountEvent.objects.all().delete()
    return NotifyMessageRecord.objects.order_by("pk")


def events(person) -> list[tuple[str, str]]:
    found = AccountEvent.objects.filter(user=person.user).order_by("sequence")
    return list(found.values_list("kind", "subject"))


@pytest.mark.parametrize("name", ACTS)
def test_each_change_applies_once(name, alice, records):
    column, do, undo = ACTS[name]
    assert do(records, alice.device) == 3
    assert do(records, alice.devices[1]) == 0
    assert not records.filter(**{column: None}).exists()
    assert undo(records[:1], alice.devices[1]) == 1
    assert undo(records[:1], alice.device) == 0
    assert records.filter(**{column: None}).count() == 1


def test_the_device_that_read_first_is_stored(alice, records):
    services.mark_read(records, alice.devices[1])
    assert {record.read_by for record in records.all()} == {alice.devices[1]}
    services.mark_unread(records, alice.device)
    assert {record.read_by for record in records.all()} == {None}


@pytest.mark.parametrize("name", ACTS)
def test_every_browser_of_the_user_receives_an_event_per_record(
    name, alice, bob, records
):
    _, do, _ = ACTS[name]
    do(records, alice.device)
    assert events(alice) == [
        ("read.changed", f"subscriptions.notifymessagerecord:{record.pk}")
        for record in records
    ]
    assert not [kind for kind, _ in events(bob) if kind == "read.changed"]


def test_many_records_cause_one_event_per_subscription(alice, dapp, subscription):
    deliver(*(dapp.notification(alice.account) for _ in range(60)))
    AccountEvent.objects.all().delete()
    assert services.mark_read(NotifyMessageRecord.objects.all(), alice.device) == 60
    assert events(alice) == [
        ("read.changed", f"subscriptions.subscription:{subscription.pk}")
    ]


@pytest.mark.parametrize("name", ACTS)
def test_charlie_changes_nothing_and_receives_no_event(name, charlie, records):
    column, do, undo = ACTS[name]
    assert do(records, charlie.device) == 0
    assert undo(records, charlie.device) == 0
    assert records.filter(**{column: None}).count() == 3
    assert not events(charlie)


def test_a_device_that_was_signed_out_changes_nothing(alice, records):
    alice.device.revoked_at = clock.now()
    assert services.mark_read(records, alice.device) == 0
