"""Account events: numbered without gaps, announced once, caught up from a cursor."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace

import pytest
from django.db import connection, transaction

from accounts.events import (
    EventDraft,
    Position,
    catch_up,
    catch_up_all,
    events_after,
    head_of,
    record_events,
)
from accounts.models import AccountEvent, User
from accounts.services import prune
from tests.people import ALICE, ALICE_SECOND, BOB, CHARLIE, link, sign_in

pytestmark = pytest.mark.django_db


def draft(account, number=0):
    return EventDraft(account.pk, "notify.message", f"subscriptions.record:{number}")


def record_and_fail(account):
    """A transaction that records an event, and then something goes wrong."""
    try:
        with transaction.atomic():
            record_events([draft(account)])
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass


@pytest.fixture
def alice():
    return sign_in(ALICE)


@pytest.fixture
def bob():
    return sign_in(BOB)


def test_events_are_numbered_per_user_without_gaps(alice, bob):
    ours, theirs = ALICE.row(), BOB.row()
    start, start_of_bob = head_of(alice.user_id), head_of(bob.user_id)
    record_events([draft(ours, 1), draft(theirs, 2), draft(ours, 3)])
    record_events([draft(ours, 4)])
    numbers = [event.sequence for event in events_after(alice.user, start.sequence)]
    assert numbers == [start.sequence + step for step in (1, 2, 3)]
    assert head_of(bob.user_id).sequence == start_of_bob.sequence + 1


def test_the_order_of_one_call_is_kept(alice):
    start = head_of(alice.user_id).sequence
    record_events([draft(ALICE.row(), number) for number in (5, 3, 8)])
    subjects = [event.subject for event in events_after(alice.user, start)]
    assert subjects == [f"subscriptions.record:{number}" for number in (5, 3, 8)]


def test_two_accounts_of_one_user_share_one_sequence(alice):
    second = link(ALICE_SECOND, alice)
    start = head_of(alice.user_id).sequence
    record_events([draft(ALICE.row()), draft(second)])
    events = events_after(alice.user, start)
    assert [event.sequence for event in events] == [start + 1, start + 2]
    assert {event.account_id for event in events} == {ALICE.row().pk, second.pk}


def test_a_thousand_events_take_as_many_queries_as_one(
    alice, bob, django_assert_num_queries
):
    ours, theirs = ALICE.row(), BOB.row()
    many = [draft(account, n) for n in range(500) for account in (ours, theirs)]
    # The owners, the locked users, the new heads, the events; who has push and forwards.
    with django_assert_num_queries(6):
        record_events(many)


def test_nothing_to_record_costs_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        record_events([])


def test_charlie_has_none_of_it(alice):
    charlie = sign_in(CHARLIE)
    before = events_after(charlie.user, 0)
    record_events([draft(ALICE.row())])
    assert events_after(charlie.user, 0) == before
    assert all(event.user_id == charlie.user_id for event in before)


def test_web_processes_get_one_hint_per_transaction_after_commit(
    alice, bob, django_capture_on_commit_callbacks, hints
):
    with django_capture_on_commit_callbacks(execute=True):
        record_events([draft(ALICE.row())])
        record_events([draft(ALICE.row()), draft(BOB.row())])
        assert hints.received() == []
    (received,) = hints.received()
    assert received["type"] == "account.events"
    assert sorted(received["heads"]) == sorted(
        [user_id, head_of(user_id).sequence] for user_id in (alice.user_id, bob.user_id)
    )


def test_rolled_back_events_are_neither_stored_nor_announced(
    alice, django_capture_on_commit_callbacks, hints
):
    start = head_of(alice.user_id)
    with django_capture_on_commit_callbacks(execute=True):
        record_and_fail(ALICE.row())
    assert hints.received() == []
    assert head_of(alice.user_id) == start


def test_an_inner_rollback_does_not_raise_the_announced_head(
    alice, django_capture_on_commit_callbacks, hints
):
    with django_capture_on_commit_callbacks(execute=True):
        record_events([draft(ALICE.row())])
        record_and_fail(ALICE.row())
    (received,) = hints.received()
    assert received["heads"] == [[alice.user_id, head_of(alice.user_id).sequence]]


def test_events_of_a_removed_account_are_dropped(alice):
    start = head_of(alice.user_id)
    record_events([EventDraft(10**9, "notify.message", "gone")])
    assert head_of(alice.user_id) == start


def test_a_cursor_is_caught_up_page_by_page(alice):
    head = head_of(alice.user_id)
    record_events([draft(ALICE.row(), number) for number in range(5)])
    cursor, seen = head.sequence, []
    while True:
        missed = catch_up(alice.user, cursor, generation=head.generation, limit=2)
        assert not missed.refetch
        if not missed.events:
            break
        seen += [event.sequence for event in missed.events]
        cursor = missed.events[-1].sequence
    assert seen == [head.sequence + step for step in range(1, 6)]
    assert missed.head.sequence == cursor


def test_a_cursor_of_another_generation_means_refetch(alice):
    head = head_of(alice.user_id)
    assert catch_up(alice.user, head.sequence, generation=uuid.uuid4()).refetch
    assert catch_up(alice.user, head.sequence, generation=None).refetch


@pytest.mark.parametrize("ahead", [1, 1000])
def test_a_cursor_in_the_future_means_refetch(alice, ahead):
    head = head_of(alice.user_id)
    future = head.sequence + ahead
    assert catch_up(alice.user, future, generation=head.generation).refetch


def test_a_negative_cursor_means_refetch(alice):
    head = head_of(alice.user_id)
    assert catch_up(alice.user, -1, generation=head.generation).refetch


def test_a_cursor_behind_pruned_events_means_refetch(alice):
    head = head_of(alice.user_id)
    record_events([draft(ALICE.row(), number) for number in range(4)])
    AccountEvent.objects.filter(sequence__lte=head.sequence + 2).delete()
    behind = catch_up(alice.user, head.sequence, generation=head.generation)
    assert behind.refetch
    near = catch_up(alice.user, head.sequence + 2, generation=head.generation)
    assert [event.sequence for event in near.events] == [
        head.sequence + 3,
        head.sequence + 4,
    ]


def test_cursors_of_many_users_are_caught_up_in_one_query(
    alice, bob, django_assert_num_queries
):
    at_first = head_of(alice.user_id), head_of(bob.user_id)
    record_events([draft(ALICE.row(), 1), draft(BOB.row(), 2), draft(ALICE.row(), 3)])
    positions = [
        Position(user.user_id, head.sequence, head.generation)
        for user, head in zip((alice, bob), at_first, strict=True)
    ]
    gone = Position(10**9, 0, at_first[0].generation)
    invalid = replace(positions[1], generation=uuid.uuid4())
    with django_assert_num_queries(1):
        found = catch_up_all([positions[0], gone, invalid, positions[1]])
    subjects = [each and [event.subject for event in each.events] for each in found]
    assert subjects == [
        [draft(ALICE.row(), 1).subject, draft(ALICE.row(), 3).subject],
        None,
        [],
        [draft(BOB.row(), 2).subject],
    ]
    assert [each and each.refetch for each in found] == [False, None, True, False]
    assert found[0].head == head_of(alice.user_id)


def test_old_events_are_pruned_and_new_ones_are_not(alice):
    record_events([draft(ALICE.row(), 1)])
    fresh = AccountEvent.objects.latest("pk")
    AccountEvent.objects.exclude(pk=fresh.pk).update(created_at="2020-01-01T00:00:00Z")
    prune()
    assert list(AccountEvent.objects.all()) == [fresh]


@pytest.mark.django_db(transaction=True)
def test_writers_at_the_same_time_leave_no_gap_and_no_double(alice, bob):
    start = head_of(alice.user_id).sequence
    ours, theirs = ALICE.row(), BOB.row()
    faults = []

    def write(first, second):
        try:
            for number in range(10):
                record_events([draft(first, number), draft(second, number)])
        except Exception as error:
            faults.append(error)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=write, args=pair)
        for pair in [(ours, theirs), (theirs, ours), (ours, theirs)]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    numbers = [event.sequence for event in events_after(alice.user, start)]
    assert numbers == list(range(start + 1, start + 31))
    assert User.objects.get(pk=alice.user_id).event_sequence == start + 30
