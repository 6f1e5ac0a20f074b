"""The matrix of the live socket: every frame as anonymous, another user, and the owner."""

from __future__ import annotations

import asyncio
from typing import get_args, get_type_hints

import pytest

from accounts import services as accounts
from dashboard import consumers
from dashboard.routing import websocket_urlpatterns
from tests.dashboard.test_live import (
    PATIENCE_S,
    communicator,
    later,
    let_go,
    next_events,
    socket,
)
from tests.tenancy.rows import all_rows, touched

pytestmark = pytest.mark.django_db(transaction=True)


def frames(cursor: dict) -> dict[str, list[dict]]:
    """Frames of each type that name Alice's events."""
    return {
        "resume": [cursor, cursor | {"sequence": 0}],
        "ack": [{"type": "ack", "sequence": cursor["sequence"]}],
    }


def cursor_of(user) -> dict:
    head = accounts.head_of(user.pk)
    return {
        "type": "resume",
        "generation": str(head.generation),
        "sequence": head.sequence,
    }


def test_every_frame_and_socket_is_in_the_matrix():
    types = {
        get_args(get_type_hints(frame)["type"])[0]
        for frame in get_args(consumers.Frame)
    }
    assert set(frames({"sequence": 0})) == types
    assert [str(each.pattern) for each in websocket_urlpatterns] == ["ws/device/"]


async def sent_to(line, frame: dict) -> list[dict]:
    """All that a socket receives in answer to a frame, until it is quiet or closed."""
    await line.send_json_to(frame)
    found = []
    while not await line.receive_nothing(timeout=0.3):
        output = await line.receive_output(timeout=PATIENCE_S)
        found.append(output)
        if output["type"] == "websocket.close":
            break
    return found


async def test_another_users_cursor_brings_nothing_of_theirs(world, charlie):
    cursor = await later(cursor_of)(world.alice.user)
    before = await later(all_rows)()
    for kind, each in frames(cursor).items():
        for frame in each:
            async with socket(charlie.browser) as line:
                found = await sent_to(line, frame)
            text = str(found).lower()
            assert not [mark for mark in world.marks if mark.lower() in text], kind
            # An event number of another user is a cursor that is not known.
            if kind == "resume":
                assert '"type":"refetch"' in found[0]["text"], found
    assert touched(world.rows, before, await later(all_rows)()) == []


async def test_frames_without_a_session_close_the_socket(world):
    cursor = await later(cursor_of)(world.alice.user)
    before = await later(all_rows)()
    for each in frames(cursor).values():
        for frame in each:
            line = communicator()
            assert (await line.connect(timeout=PATIENCE_S))[0]
            found = await sent_to(line, frame)
            assert found[-1]["code"] in {consumers.SIGNED_OUT, consumers.MALFORMED}
            assert not [mark for mark in world.marks if mark in str(found)]
            await let_go()
    assert await later(all_rows)() == before


async def test_the_owners_cursor_brings_the_events(world, notify):
    cursor = await later(cursor_of)(world.alice.user)
    async with socket(world.alice.browser) as line:
        await line.send_json_to(cursor)
        await later(notify)(title="Zq9-later")
        assert "Zq9-later" in str(await next_events(line))
        # Acknowledging beyond what was sent, or twice, is ignored.
        for sequence in (10**9, 0, -1):
            await line.send_json_to({"type": "ack", "sequence": sequence})
        await later(notify)(title="Zq9-last")
        assert "Zq9-last" in str(await next_events(line))


async def test_groups_cannot_be_chosen(world, charlie, notify):
    """Charlie's open socket receives none of Alice's wake-ups."""
    cursor = await later(cursor_of)(charlie.user)
    async with socket(charlie.browser) as line:
        await sent_to(line, cursor | {"group": f"user.{world.alice.user.pk}"})
        await later(notify)(title="Zq9-not-for-charlie")
        await asyncio.sleep(0)
        assert await line.receive_nothing(timeout=0.3)
