"""What is thrown away, and what is not."""

from __future__ import annotations

import pytest

from common import clock
from history import services
from history.tasks import prune_messages
from relayserver.models import (
    Acknowledgement,
    ArchivedTag,
    MailboxCursor,
    PublishedMessage,
)
from tests.history.conftest import topic

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _empty_log(db):
    """Relay nodes of other tests write outside any test's transaction."""
    for model in (PublishedMessage, MailboxCursor, Acknowledgement, ArchivedTag):
        model.objects.all().delete()


def kept():
    return set(PublishedMessage.objects.values_list("message", flat=True))


def test_messages_past_their_ttl_go_and_others_stay(publish):
    on = topic()
    publish(on, ["over"], tag=4000, ttl=-1)
    publish(on, ["not over"], tag=4000)

    assert prune_messages() == 1

    assert kept() == {"not over"}


def test_messages_of_archived_tags_stay_for_ever(publish):
    services.archive([5000])
    publish(topic(), ["sync set"], tag=5000, ttl=-1_000_000)
    publish(topic(), ["sync delete"], tag=5002, ttl=-1)

    prune_messages()

    assert kept() == {"sync set"}


def test_without_registrations_nothing_is_archived(publish):
    publish(topic(), ["sync set"], tag=5000, ttl=-1)

    prune_messages()

    assert kept() == set()


def test_many_go_in_batches(publish, monkeypatch):
    monkeypatch.setattr(services, "PRUNE_BATCH_SIZE", 7)
    publish(topic(), [f"{n}" for n in range(30)], tag=4000, ttl=-1)

    assert prune_messages() == 30


def test_pruning_again_finds_nothing(publish):
    publish(topic(), ["over"], tag=4000, ttl=-1)

    assert [prune_messages(), prune_messages()] == [1, 0]


def test_cursors_and_acknowledgements_are_pruned_with_their_messages(publish):
    live, over, archived = topic(), topic(), topic()
    services.archive([5000])
    [row] = publish(live, ["live"], tag=4000)
    [gone] = publish(over, ["over"], tag=4000, ttl=-1)
    [old] = publish(archived, ["archived"], tag=5000, ttl=-1)
    for message in (row, gone, old):
        MailboxCursor.objects.create(
            topic=message.topic, client="did:key:z", through=message.id
        )
        Acknowledgement.objects.create(
            topic=message.topic, client="did:key:z", published_id=message.id
        )

    prune_messages()

    assert [each.topic for each in MailboxCursor.objects.all()] == [live]
    assert [each.topic for each in Acknowledgement.objects.all()] == [live]


def test_a_cursor_before_the_oldest_message_is_pruned(publish):
    on = topic()
    publish(on, ["over"], tag=4000, ttl=-1)
    MailboxCursor.objects.create(topic=on, client="did:key:z", through=1)
    publish(on, ["kept"], tag=4000)

    prune_messages()

    assert not MailboxCursor.objects.exists()


def test_all_cursors_are_looked_at(publish, monkeypatch):
    from relayserver.storage import pruning

    monkeypatch.setattr(pruning, "BATCH", 3)
    topics = sorted(topic() for _ in range(10))
    live = topics[5]
    [row] = publish(live, ["live"], tag=4000)
    MailboxCursor.objects.bulk_create(
        [
            MailboxCursor(topic=each, client="did:key:z", through=row.id)
            for each in topics
        ]
    )

    prune_messages()

    assert [each.topic for each in MailboxCursor.objects.all()] == [live]


def test_the_clock_decides(publish):
    from datetime import timedelta

    publish(topic(), ["text"], tag=4000, ttl=60)
    with clock.frozen(clock.now() + timedelta(seconds=59)):
        assert prune_messages() == 0
    with clock.frozen(clock.now() + timedelta(seconds=61)):
        assert prune_messages() == 1
