"""The browser's WebSocket, through the real ASGI application."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from channels_redis.pubsub import RedisPubSubLoopLayer
from django.conf import settings
from django.db import OperationalError, connections

from accounts import services as accounts
from accounts.models import AccountEvent, User
from accounts.services import EventDraft, record_events
from dashboard import consumers, fragments, hub, live
from dashboard.consumers import DeviceConsumer
from dashboard.open_sockets import OpenSockets
from notifyweb import web
from subscriptions import services as subscriptions

if TYPE_CHECKING:
    from subscriptions.models import NotifyMessageRecord

pytestmark = pytest.mark.django_db(transaction=True)

ORIGIN = b"http://localhost:8000"
NOTHING_S = 0.3
# A communicator that is given up cancels the application in the middle of its work.
PATIENCE_S = 20


def communicator(
    browser=None, *, origin: bytes | None = ORIGIN, forwarded: str = ""
) -> WebsocketCommunicator:
    from notifyweb.asgi import application

    headers = [] if origin is None else [(b"origin", origin)]
    if browser is not None:
        cookie = f"{settings.SESSION_COOKIE_NAME}={browser.session_key}"
        headers.append((b"cookie", cookie.encode()))
    if forwarded:
        headers.append((b"x-forwarded-for", forwarded.encode()))
    return WebsocketCommunicator(application, "/ws/device/", headers=headers)


async def let_go() -> None:
    """Close database connections: the communicator disables Django's own cleanup."""
    await later(connections.close_all)()


@asynccontextmanager
async def socket(browser):
    line = communicator(browser)
    connected, _ = await line.connect(timeout=PATIENCE_S)
    assert connected
    try:
        yield line
    finally:
        await line.disconnect(timeout=PATIENCE_S)
        await let_go()


def later(function):
    """Do what a web process or worker would do beside the socket; it must end."""

    async def done(*args, **kwargs):
        work = database_sync_to_async(function)(*args, **kwargs)
        return await asyncio.wait_for(work, timeout=PATIENCE_S)

    return done


@later
def cursor_of(person) -> dict:
    head = accounts.head_of(person.user.pk)
    return {
        "type": "resume",
        "generation": str(head.generation),
        "sequence": head.sequence,
    }


@asynccontextmanager
async def resumed(person, browser=None):
    """A socket whose cursor was confirmed."""
    async with socket(browser or person.browser) as line:
        cursor = await cursor_of(person)
        await line.send_json_to(cursor)
        frame = await line.receive_json_from(timeout=PATIENCE_S)
        assert frame == cursor_heartbeat(cursor)
        yield line


def cursor_heartbeat(cursor: dict) -> dict:
    return {
        "type": "heartbeat",
        "head": cursor["sequence"],
        "generation": cursor["generation"],
    }


async def next_events(line) -> dict:
    """The next batch, skipping heartbeats."""
    frame = {"type": "heartbeat"}
    while frame["type"] == "heartbeat":
        frame = await line.receive_json_from(timeout=PATIENCE_S)
    assert frame["type"] == "events", frame
    await line.send_json_to({"type": "ack", "sequence": frame["head"]})
    return frame


def html_of(frame: dict) -> str:
    return "".join(each["html"] for each in frame["frames"])


# --- who may --------------------------------------------------------------------------


FOREIGN = [
    None,
    b"null",
    b"http://evil.example",
    b"https://localhost:8000",
    b"http://localhost:8001",
    b"http://localhost.evil.example:8000",
]


async def test_pages_of_other_origins_get_no_socket(alice):
    for origin in FOREIGN:
        connected, _ = await communicator(alice.browser, origin=origin).connect(
            timeout=5
        )
        assert not connected, origin


async def test_without_a_session_the_socket_is_revoked():
    line = communicator()
    assert (await line.connect(timeout=PATIENCE_S))[0]
    frame = await line.receive_json_from(timeout=PATIENCE_S)
    assert frame["type"] == "revoked"
    assert (await line.receive_output(timeout=PATIENCE_S))["code"] == 4401


STRANGE = [
    "hello",
    "[]",
    "{}",
    '{"type":"subscribe","group":"user.1"}',
    '{"type":"resume"}',
    '{"type":"resume","generation":4,"sequence":1}',
    '{"type":"resume","generation":"x","sequence":"1"}',
    '{"type":"ack","sequence":true}',
    '{"type":"ack","sequence":1,"x":"' + "y" * 2000 + '"}',
    "[" * 1000,
]


async def test_any_other_frame_closes_the_socket(alice):
    for text in STRANGE:
        async with socket(alice.browser) as line:
            await line.send_to(text_data=text)
            assert (await line.receive_output(timeout=PATIENCE_S))["code"] == 4400, text
    async with socket(alice.browser) as line:
        await line.send_to(bytes_data=b"\x00")
        assert (await line.receive_output(timeout=PATIENCE_S))["code"] == 4400


@pytest.fixture
def sockets(monkeypatch):
    """Counts of this test alone."""
    made = OpenSockets()
    monkeypatch.setattr(consumers, "open_sockets", made)
    return made


async def is_refused(browser, **options) -> bool:
    """Whether one more socket is closed at once, with the code that says why."""
    line = communicator(browser, **options)
    assert (await line.connect(timeout=PATIENCE_S))[0]
    refused = not await line.receive_nothing(timeout=NOTHING_S)
    if refused:
        assert (await line.receive_output(timeout=PATIENCE_S))["code"] == (
            consumers.TOO_MANY
        )
    await line.disconnect(timeout=PATIENCE_S)
    await let_go()
    return refused


@pytest.mark.parametrize(
    ("limit", "others_too"), [("live_sockets_per_user", False), ("live_sockets", True)]
)
async def test_sockets_are_limited_and_a_closed_one_makes_room(
    alice, charlie, settings, sockets, limit, others_too
):
    settings.LIMITS = replace(settings.LIMITS, **{limit: 2})
    first, second = alice.browsers
    async with socket(first):
        async with socket(second):
            assert await is_refused(first)
            assert await is_refused(charlie.browser) is others_too
        assert not await is_refused(second)
    assert len(sockets) == 0


async def test_sockets_of_one_address_are_limited(alice, charlie, settings, sockets):
    settings.LIMITS = replace(settings.LIMITS, live_sockets_per_address=1)
    settings.TRUSTED_PROXIES = 1
    line = communicator(alice.browser, forwarded="203.0.113.7")
    assert (await line.connect(timeout=PATIENCE_S))[0]
    assert await is_refused(charlie.browser, forwarded="198.51.100.1, 203.0.113.7")
    assert not await is_refused(charlie.browser, forwarded="203.0.113.8")
    # Also for those who are not signed in: nothing is read for them.
    assert await is_refused(None, forwarded="203.0.113.7")
    # Loopback may be a proxy of all clients.
    assert not await is_refused(charlie.browser, forwarded="127.0.0.1")
    assert not await is_refused(alice.browser, forwarded="127.0.0.1")
    await line.disconnect(timeout=PATIENCE_S)
    await let_go()
    assert len(sockets) == 0


async def test_a_socket_that_is_cancelled_releases_what_it_holds(
    alice, monkeypatch, sockets
):
    """Daphne cancels a socket whose browser went away during a long ``connect``."""
    waits = asyncio.Event()

    async def wait_for_ever(consumer):
        waits.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(DeviceConsumer, "_active_device", wait_for_ever)
    line = communicator(alice.browser)
    await line.send_input({"type": "websocket.connect"})
    await asyncio.wait_for(waits.wait(), PATIENCE_S)
    assert len(sockets) == 1
    line.future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await line.future
    assert len(sockets) == 0
    await let_go()


async def test_a_socket_that_gets_no_hints_is_closed_and_releases_what_it_holds(
    alice, monkeypatch, sockets
):
    """Without a subscription a page would look live and be late."""

    async def broken(*args, **kwargs):
        raise ConnectionError("broken on purpose")

    monkeypatch.setattr(RedisPubSubLoopLayer, "group_add", broken)
    line = communicator(alice.browser)
    assert (await line.connect(timeout=PATIENCE_S))[0]
    assert (await line.receive_output(timeout=PATIENCE_S))["code"] == consumers.FAILED
    await line.disconnect(timeout=PATIENCE_S)
    assert len(sockets) == 0
    await let_go()


# --- what comes -----------------------------------------------------------------------


async def test_a_notification_reaches_both_devices_as_a_row(alice, notify):
    first, second = alice.browsers
    async with resumed(alice, first) as one, resumed(alice, second) as other:
        record = await later(notify)(title="Proposal 42")
        for line in (one, other):
            html = html_of(await next_events(line))
            assert f'id="message-{record.pk}"' in html
            assert "Proposal 42" in html
            assert (
                '<span class="count" id="unread-count" aria-label="unread">1</span>'
                in html
            )


async def test_nothing_is_sent_before_resume(alice, notify):
    async with socket(alice.browser) as line:
        await later(notify)()
        assert await line.receive_nothing(timeout=NOTHING_S)


async def test_missed_events_are_sent_in_order_on_connect(alice, notify):
    resume = await cursor_of(alice)
    records = [await later(notify)(title=f"Number {number}") for number in range(3)]
    async with socket(alice.browser) as line:
        await line.send_json_to(resume)
        frame = await next_events(line)
        assert frame["after"] == resume["sequence"]
        assert frame["head"] == (await cursor_of(alice))["sequence"]
        html = html_of(frame)
        places = [html.index(f'id="message-{record.pk}"') for record in records]
        assert places == sorted(places)


async def test_changes_close_together_make_one_batch(alice, notify):
    record = await later(notify)()
    async with resumed(alice) as line:

        @later
        def many():
            for _ in range(5):
                subscriptions.mark_read([record], alice.device)
                subscriptions.mark_unread([record], alice.device)

        await many()
        frames, rows = [], 0
        last = (await cursor_of(alice))["sequence"]
        while not frames or frames[-1]["head"] < last:
            frames.append(await next_events(line))
            rows += html_of(frames[-1]).count(f'id="message-{record.pk}"')
        # Ten changes of one row: it is rendered once per batch, not once per change.
        assert rows == len(frames) <= 10


async def test_reading_on_one_device_updates_the_other(alice, notify):
    record = await later(notify)()
    first, second = alice.browsers
    async with resumed(alice, second) as there:
        await later(first.get)(f"/inbox/{record.pk}")
        html = html_of(await next_events(there))
        assert 'data-unread="no"' in html
        assert 'id="unread-tab-count"></span>' in html


async def test_unsubscribing_here_takes_the_row_away_there(alice, subscription):
    first, second = alice.browsers
    async with resumed(alice, second) as there:
        await later(first.get)("/inbox")
        await later(first.post)(f"/subscriptions/{subscription.topic}/delete")
        gone = (
            f'id="subscription-{subscription.pk}" data-list="subscriptions" data-gone'
        )
        html = ""
        while gone not in html:
            html += html_of(await next_events(there))


async def test_events_of_other_users_are_not_sent(alice, charlie, notify):
    async with resumed(charlie) as line:
        await later(notify)(title="For Alice")
        await later(record_events)(
            [
                EventDraft(
                    charlie.account.pk,
                    "notify.message",
                    "subscriptions.notifymessagerecord:1",
                )
            ]
        )
        frame = await next_events(line)
        assert "For Alice" not in html_of(frame)
        assert await line.receive_nothing(timeout=NOTHING_S)


async def test_an_event_with_another_users_row_shows_nothing(alice, charlie, notify):
    """Rows are looked up among the user's own, even for a wrong subject."""
    record = await later(notify)(title="For Alice")
    async with resumed(charlie) as line:
        subjects = [
            f"subscriptions.notifymessagerecord:{record.pk}",
            f"subscriptions.subscription:{record.subscription_id}",
            f"relay.run:{'0' * 64}",
            "nonsense",
        ]
        drafts = [
            EventDraft(charlie.account.pk, "notify.message", each) for each in subjects
        ]
        await later(record_events)(drafts)
        html = html_of(await next_events(line))
        assert "For Alice" not in html
        assert "Acme" not in html


# --- cursors --------------------------------------------------------------------------


async def test_an_invalid_cursor_is_answered_with_refetch(alice):
    resume = await cursor_of(alice)
    for changes in (
        {"generation": str(uuid.UUID(int=7))},
        {"generation": "nonsense"},
        {"sequence": 10**9},
        {"sequence": -1},
    ):
        async with socket(alice.browser) as line:
            await line.send_json_to(resume | changes)
            frame = await line.receive_json_from(timeout=PATIENCE_S)
            assert (frame["type"], frame["head"]) == ("refetch", resume["sequence"])


async def test_a_gap_is_answered_with_refetch(alice, notify):
    resume = await cursor_of(alice)
    await later(notify)()
    await later(AccountEvent.objects.filter(sequence=resume["sequence"] + 1).delete)()
    async with socket(alice.browser) as line:
        await line.send_json_to(resume)
        assert (await line.receive_json_from(timeout=PATIENCE_S))["type"] == "refetch"


async def test_a_page_far_behind_is_reloaded(alice, monkeypatch):
    monkeypatch.setattr(live, "TOO_FAR", 3)
    resume = await cursor_of(alice)
    drafts = [EventDraft(alice.account.pk, "sync.update", f"x:{n}") for n in range(4)]
    await later(record_events)(drafts)
    async with socket(alice.browser) as line:
        await line.send_json_to(resume)
        assert (await line.receive_json_from(timeout=PATIENCE_S))["type"] == "refetch"


async def test_after_refetch_the_browser_goes_on_from_what_it_loaded(alice, notify):
    async with socket(alice.browser) as line:
        await line.send_json_to({"type": "resume", "generation": "old", "sequence": 3})
        assert (await line.receive_json_from(timeout=PATIENCE_S))["type"] == "refetch"
        page = await later(alice.get)("/inbox")
        sequence = (await cursor_of(alice))["sequence"]
        assert f'data-sequence="{sequence}"' in page.text
        await line.send_json_to(await cursor_of(alice))
        await later(notify)(title="Afterwards")
        assert "Afterwards" in html_of(await next_events(line))


async def test_a_new_generation_makes_every_cursor_invalid(alice):
    """As after restoring a backup, when numbering starts again."""
    resume = await cursor_of(alice)
    await later(User.objects.filter(pk=alice.user.pk).update)(
        event_generation=uuid.uuid4()
    )
    async with socket(alice.browser) as line:
        await line.send_json_to(resume)
        assert (await line.receive_json_from(timeout=PATIENCE_S))["type"] == "refetch"


async def test_a_lost_notification_delays_events_to_the_next_heartbeat(
    alice, monkeypatch, notify
):
    monkeypatch.setattr(consumers, "HEARTBEAT_S", 0.05)

    async def deaf(self, message):
        """The channel-layer message is lost."""

    monkeypatch.setattr(DeviceConsumer, "account_events", deaf)
    async with resumed(alice) as line:
        await later(notify)(title="Found anyway")
        frame = {"type": "heartbeat"}
        while frame["type"] == "heartbeat":
            frame = await line.receive_json_from(timeout=PATIENCE_S)
        assert "Found anyway" in html_of(frame)


async def test_heartbeats_carry_the_newest_number(alice, monkeypatch):
    monkeypatch.setattr(consumers, "HEARTBEAT_S", 0.05)
    resume = await cursor_of(alice)
    async with resumed(alice) as line:
        frame = await line.receive_json_from(timeout=PATIENCE_S)
    assert frame == cursor_heartbeat(resume)


async def test_a_browser_without_acknowledgements_is_disconnected(alice, monkeypatch):
    monkeypatch.setattr(consumers, "WINDOW", 2)
    monkeypatch.setattr(live, "BATCH", 2)
    async with resumed(alice) as line:
        drafts = [
            EventDraft(alice.account.pk, "sync.update", f"x:{n}") for n in range(9)
        ]
        await later(record_events)(drafts)
        output = await line.receive_output(timeout=PATIENCE_S)
        while output["type"] == "websocket.send":
            output = await line.receive_output(timeout=PATIENCE_S)
        assert output["code"] == consumers.SLOW


async def test_a_browser_that_acknowledges_too_late_is_disconnected(
    alice, monkeypatch, notify
):
    monkeypatch.setattr(consumers, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(consumers, "ACK_WITHIN_S", 0.2)
    async with resumed(alice) as line:
        await later(notify)()
        output = await line.receive_output(timeout=PATIENCE_S)
        while output["type"] == "websocket.send":
            output = await line.receive_output(timeout=PATIENCE_S)
        assert output["code"] == consumers.SLOW


async def test_a_failure_anywhere_in_a_socket_closes_it(alice, monkeypatch, notify):
    """Reading, sending and heartbeats run beside the socket; none of them may end while
    the socket stays open and looks live."""

    def broken(*args, **kwargs):
        raise RuntimeError("broken on purpose")

    async def broken_later(*args, **kwargs):
        broken()

    for owner, name, double in (
        (hub, "next_batches", broken),
        (live.fragments, "frames_for", broken),
        (DeviceConsumer, "_send_heartbeat", broken_later),
        (hub, "heads_of_sessions", broken),
        (DeviceConsumer, "account_events", broken_later),
    ):
        cursor = await cursor_of(alice)
        with monkeypatch.context() as patch:
            patch.setattr(consumers, "HEARTBEAT_S", 0.05)
            patch.setattr(owner, name, double)
            async with socket(alice.browser) as line:
                await line.send_json_to(cursor)
                await later(notify)()
                output = await line.receive_output(timeout=PATIENCE_S)
                while output["type"] == "websocket.send":
                    output = await line.receive_output(timeout=PATIENCE_S)
                assert output["code"] == consumers.FAILED, name


async def test_the_cursor_stays_where_it_was_when_a_batch_could_not_be_sent(
    alice, monkeypatch, notify
):
    """A batch that was not sent is due again for the next request."""
    cursor = await cursor_of(alice)
    record = await later(notify)(title="Once more")

    async def refused(self, **frame):
        seen.append(self.cursor.sequence)
        raise RuntimeError("the frame is refused")

    seen: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(DeviceConsumer, "send", refused)
        async with socket(alice.browser) as line:
            await line.send_json_to(cursor)
            output = await line.receive_output(timeout=PATIENCE_S)
            assert output["code"] == consumers.FAILED
    assert seen == [cursor["sequence"]]
    async with socket(alice.browser) as line:
        await line.send_json_to(cursor)
        assert f'id="message-{record.pk}"' in html_of(await next_events(line))


def test_application_close_codes_are_ones_that_the_server_sends():
    """For other codes Daphne raises and the socket stays open."""
    names = ("MALFORMED", "SIGNED_OUT", "SLOW", "TOO_MANY", "FAILED")
    assert all(4000 <= getattr(consumers, name) < 5000 for name in names)


# --- size -----------------------------------------------------------------------------

MAX_LENGTH = {
    "plain": {"title": "t" * 64, "body": "b" * 255},
    "escaped": {"title": "&\"<>'" * 12 + "&&&&", "body": '"' * 255},
    "wide": {"title": "\N{FAMILY}" * 64, "body": "\N{FAMILY}" * 255},
}


@pytest.mark.parametrize("kind", MAX_LENGTH)
def test_a_batch_stays_below_what_the_web_server_sends(alice, notify, kind):
    head = accounts.head_of(alice.user.pk)
    url = "https://acme.example/" + "u" * 234
    records = [notify(**MAX_LENGTH[kind], url=url) for _ in range(60)]
    cursor, seen = live.Cursor(str(head.generation), head.sequence), ""
    while True:
        batch = live.next_batch(alice.user.pk, cursor, zone="UTC", language="en")
        assert not batch.refetch
        assert len(batch.text.encode()) <= live.MAX_BATCH_BYTES < web.FRAME_BYTES
        if batch.is_empty:
            break
        assert batch.head > cursor.sequence
        seen += "".join(frame.html for frame in batch.frames)
        cursor = live.Cursor(cursor.generation, batch.head)
    assert all(f'id="message-{record.pk}"' in seen for record in records)


def test_an_event_larger_than_a_frame_is_answered_with_refetch(
    alice, monkeypatch, notify
):
    head = accounts.head_of(alice.user.pk)
    notify()
    monkeypatch.setattr(live, "MAX_BATCH_BYTES", 100)
    cursor = live.Cursor(str(head.generation), head.sequence)
    batch = live.next_batch(alice.user.pk, cursor, zone="UTC", language="en")
    assert batch.refetch
    assert batch.newest == accounts.head_of(alice.user.pk).sequence


# --- ending ---------------------------------------------------------------------------


async def test_a_revoked_device_receives_the_name_of_the_revoking_device(alice):
    first, second = alice.browsers
    async with resumed(alice, second) as there:
        gone, by = await later(lambda: (second.device, first.device))()
        await later(accounts.revoke_device)(gone, by=by)
        frame = await there.receive_json_from(timeout=PATIENCE_S)
        while frame["type"] != "revoked":
            frame = await there.receive_json_from(timeout=PATIENCE_S)
        assert "This device was signed out" in frame["html"]
        assert "Firefox · Mac" in frame["html"]
        assert (await there.receive_output(timeout=PATIENCE_S))["code"] == 4401


async def test_a_lost_revocation_ends_the_socket_at_the_heartbeat(alice, monkeypatch):
    monkeypatch.setattr(consumers, "HEARTBEAT_S", 0.05)

    async def deaf(self, message):
        """The channel-layer message is lost."""

    monkeypatch.setattr(DeviceConsumer, "device_revoked", deaf)
    first, second = alice.browsers
    async with resumed(alice, second) as there:
        gone, by = await later(lambda: (second.device, first.device))()
        await later(accounts.revoke_device)(gone, by=by)
        output = await there.receive_output(timeout=PATIENCE_S)
        while output["type"] == "websocket.send":
            output = await there.receive_output(timeout=PATIENCE_S)
        assert output["code"] == 4401


# --- without a socket -----------------------------------------------------------------


@pytest.mark.parametrize("table", sorted(fragments._RENDERERS))
@pytest.mark.parametrize("key", ["9" * 40, "-1", "x", "", "\u0663"])
def test_a_row_that_cannot_exist_is_rendered_as_nothing(alice, table, key):
    assert fragments._RENDERERS[table](alice.user.pk, [key]) == ""
    assert fragments._integers([key]) == []


def test_polling_brings_the_same_frames(alice, notify):
    head = accounts.head_of(alice.user.pk)
    path = f"/live/events?generation={head.generation}&sequence={head.sequence}"
    quiet = alice.get(path).json()
    assert (quiet["type"], quiet["frames"], quiet["head"]) == (
        "events",
        [],
        head.sequence,
    )
    record = notify(title="Polled")
    frame = alice.get(path).json()
    assert f'id="message-{record.pk}"' in html_of(frame)
    assert frame["after"] == head.sequence


@pytest.mark.parametrize(
    "query", ["", "?sequence=x", "?generation=%01&sequence=1", "?sequence=-4"]
)
def test_polling_with_nonsense_is_answered_with_refetch(alice, query):
    assert alice.get(f"/live/events{query}").json()["type"] == "refetch"


# --- state by events equals state by read ----------------------------------------------


async def test_rows_by_events_equal_rows_of_the_page(alice, notify):
    """For any sequence of changes, the last rendering of a row equals a fresh page."""
    async with resumed(alice) as line:

        @later
        def change() -> list[NotifyMessageRecord]:
            records = [notify(title=f"Number {number}") for number in range(4)]
            subscriptions.mark_read(records[:2], alice.device)
            subscriptions.mark_unread(records[:1], alice.device)
            subscriptions.archive(records[2:3], alice.device)
            subscriptions.unarchive(records[2:3], alice.device)
            return records

        records = await change()
        last = (await cursor_of(alice))["sequence"]
        seen: dict[str, str] = {}
        head = 0
        while head < last:
            frame = await next_events(line)
            head = frame["head"]
            for row in html_of(frame).split("<li ")[1:]:
                name = row.split('id="')[1].split('"')[0]
                seen[name] = row.split("</li>")[0]
    page = (await later(alice.get)("/inbox?tab=all")).text
    for record in records:
        row = page.split(f'id="message-{record.pk}"')[1].split("</li>")[0]
        # Only the page knows its own tab, to which an opened message leads back.
        row = row.replace(f"/inbox/{record.pk}?tab=all", f"/inbox/{record.pk}")
        assert seen[f"message-{record.pk}"].split(f'id="message-{record.pk}"')[1] == row


@pytest.fixture
def calls(monkeypatch):
    """The cursors of each call that read and rendered."""
    made = []

    def counted(readers):
        made.append(list(readers))
        return live.next_batches(readers)

    monkeypatch.setattr(hub, "next_batches", counted)
    return made


@asynccontextmanager
async def all_resumed(*people):
    lines = [communicator(each.browser) for each in people]
    for person, line in zip(people, lines, strict=True):
        assert (await line.connect(timeout=PATIENCE_S))[0]
        cursor = await cursor_of(person)
        await line.send_json_to(cursor)
        frame = await line.receive_json_from(timeout=PATIENCE_S)
        assert frame == cursor_heartbeat(cursor)
    yield lines
    for line in lines:
        await line.disconnect(timeout=PATIENCE_S)
    await let_go()


async def test_ten_tabs_share_one_rendering(alice, calls, notify):
    async with all_resumed(*[alice] * 10) as lines:
        calls.clear()
        await later(notify)(title="Once")
        frames = await asyncio.gather(*(next_events(line) for line in lines))
        assert all("Once" in html_of(frame) for frame in frames)
        assert sum(map(len, calls)) < 5


@later
def note(*people):
    """One event of each, in one transaction."""
    record_events(
        [EventDraft(each.account.pk, "sync.update", "x:1") for each in people]
    )


async def test_events_of_many_users_are_read_in_one_call(alice, charlie, calls):
    async with all_resumed(alice, charlie) as lines:
        calls.clear()
        await note(alice, charlie)
        for line in lines:
            assert [each["id"] for each in (await next_events(line))["frames"]]
        assert [len(readers) for readers in calls] == [2]


async def test_what_fails_for_one_user_closes_no_socket_of_another(
    alice, charlie, monkeypatch
):
    real = live.fragments.frames_for

    def broken(user_id, *args, **kwargs):
        if user_id == alice.user.pk:
            raise RuntimeError("broken on purpose")
        return real(user_id, *args, **kwargs)

    monkeypatch.setattr(live.fragments, "frames_for", broken)
    async with all_resumed(alice, charlie) as (hers, his):
        await note(alice, charlie)
        assert (await next_events(his))["frames"]
        output = await hers.receive_output(timeout=PATIENCE_S)
        assert output["code"] == consumers.FAILED
        await note(charlie)
        assert (await next_events(his))["frames"]


async def test_a_heartbeat_of_many_sockets_takes_one_query(alice, charlie, monkeypatch):
    monkeypatch.setattr(consumers, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(hub, "TOGETHER", 10)
    asked = []

    def counted(session_keys):
        asked.append(set(session_keys))
        return accounts.heads_of_sessions(session_keys)

    monkeypatch.setattr(hub, "heads_of_sessions", counted)
    async with all_resumed(alice, alice, charlie) as lines:
        # Of the first, those that were open already; of the second, all.
        for line in lines * 2:
            frame = await line.receive_json_from(timeout=PATIENCE_S)
            assert frame["type"] == "heartbeat"
    assert {alice.browser.session_key, charlie.browser.session_key} in asked


async def test_a_database_that_fails_delays_events_and_closes_nothing(
    alice, monkeypatch, notify
):
    monkeypatch.setattr(hub, "RETRY_S", 0.05)
    failures = [OperationalError("gone"), OperationalError("gone")]

    def failing(readers):
        if failures:
            raise failures.pop()
        return live.next_batches(readers)

    async with resumed(alice) as line:
        monkeypatch.setattr(hub, "next_batches", failing)
        await later(notify)(title="Late")
        assert "Late" in html_of(await next_events(line))
        assert not failures
