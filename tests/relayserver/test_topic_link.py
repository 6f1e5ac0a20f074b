"""One subscription, in any order of events: everything once, in order, and accounted for."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from relayserver.delivery.topics import MAX_WAITING, LinkState, TopicLink, TopicTable
from relayserver.values import KeptMessage

TOPIC = "ab" * 32
OWN = "did:key:own"
OTHER = "did:key:other"


@dataclass
class RecordingSession:
    client: str = OWN
    delivered: list[int] = field(default_factory=list)

    def deliver(self, link, message):
        self.delivered.append(message.id)


def message(number, publisher=OTHER):
    return KeptMessage(number, TOPIC, publisher, b"{}")


def live_link():
    session = RecordingSession()
    link = TopicLink(session, TOPIC, "irn_")
    link.begin_reading()
    assert link.go_live()
    return link, session


@st.composite
def histories(draw):
    """Numbers in the log, how many were there when the mailbox was read, page by page,
    and how far the live log had come at each of these moments."""
    count = draw(st.integers(0, 30))
    numbers = sorted(draw(st.sets(st.integers(1, 100), min_size=count, max_size=count)))
    pages = draw(st.lists(st.integers(0, count), max_size=5).map(sorted))
    lags = draw(st.lists(st.integers(0, 5), min_size=6, max_size=6))
    return numbers, pages, lags


@given(histories())
def test_mailbox_and_live_together_deliver_each_message_once_in_order(history):
    numbers, pages, lags = history
    session = RecordingSession()
    link = TopicLink(session, TOPIC, "irn_")
    offered = 0

    def offer_up_to(place):
        nonlocal offered
        while offered < place:
            link.offer(message(numbers[offered]))
            offered += 1

    for seen, lag in zip(pages, lags, strict=False):
        # The page is read when `seen` messages are committed; the log lags behind.
        offer_up_to(max(0, seen - lag))
        link.begin_reading()
        page = [number for number in numbers[:seen] if number > link.last]
        offer_up_to(seen)
        for number in page:
            link.deliver_kept(message(number))
        link.stop_reading()
    link.begin_reading()
    for number in numbers:
        if number > link.last and number <= (numbers[offered - 1] if offered else 0):
            link.deliver_kept(message(number))
    assert link.go_live()
    offer_up_to(len(numbers))

    assert session.delivered == numbers
    assert link.state is LinkState.LIVE


@given(st.permutations(range(1, 13)), st.lists(st.integers(0, 12), max_size=4))
def test_progress_reports_every_acknowledgement_exactly_once(order, moments):
    link, _ = live_link()
    for number in range(1, 13):
        link.offer(message(number))
    through, beyond, acknowledged = 0, set(), set()

    for place, number in enumerate(order, 1):
        link.acknowledge(number)
        acknowledged.add(number)
        if place in moments or place == 12:
            progress = link.progress()
            through = max(through, progress.through)
            if progress.tidy:
                beyond = {each for each in beyond if each > through}
            beyond |= set(progress.beyond)
            assert set(range(1, through + 1)) | beyond == acknowledged
            assert not any(each <= through for each in progress.beyond)

    assert (through, beyond) == (12, set())


def test_own_messages_are_passed_over_and_do_not_hold_the_cursor_back():
    link, session = live_link()
    for number in range(1, 6):
        link.offer(message(number, OWN if number % 2 else OTHER))
    link.acknowledge(2)
    link.acknowledge(4)

    assert session.delivered == [2, 4]
    assert link.progress().through == 5


def test_acknowledging_what_was_never_delivered_changes_nothing():
    link, _ = live_link()
    link.offer(message(1))
    link.acknowledge(7)

    assert link.progress().through == 0
    assert link.progress().beyond == ()


def test_too_much_behind_a_page_has_it_read_again():
    link, session = live_link()
    link.begin_reading()
    for number in range(1, MAX_WAITING + 2):
        link.offer(message(number))

    assert not link.go_live()
    assert link.state is LinkState.WAITING
    assert session.delivered == []


def test_a_table_drops_topics_without_links():
    table = TopicTable()
    link, _ = live_link()
    other, _ = live_link()
    table.add(link)
    table.add(other)
    table.remove(link)
    assert TOPIC in table
    table.remove(other)
    table.remove(other)

    assert TOPIC not in table
    assert len(table) == 0


def test_an_idle_topic_takes_less_than_440_bytes_and_gives_them_back():
    """Text, link, and an entry in the table and in the session's links; the measured
    sizes, without what the allocator rounds up (docs/performance.md)."""
    session, table, links = RecordingSession(), TopicTable(), {}
    count = 20_000
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(count):
            link = TopicLink(session, f"{number:064x}", "irn_", joined_at=7)
            links[link.topic] = link
            table.add(link)
            link.begin_reading()
            assert link.go_live()
        idle, _ = tracemalloc.get_traced_memory()
        # A message, acknowledged and reported, leaves nothing behind.
        for number, link in enumerate(links.values(), start=8):
            link.offer(message(number))
            link.acknowledge(number)
            link.progress()
        used, _ = tracemalloc.get_traced_memory()
        session.delivered.clear()
        for link in links.values():
            table.remove(link)
        links.clear()
        del link
        table.shrink()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert idle / count < 440
    # Each link keeps the number of its last message.
    assert used / count < 440 + 2 * sys.getsizeof(2**40)
    assert left / count < 20
