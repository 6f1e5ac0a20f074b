"""Frames of clients, in whatever pieces the network brings them."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from websockets.frames import Frame, Opcode

from tests.relayserver.conftest import running_node
from tests.relayserver.wire import connected, key, topic


def frame(opcode: Opcode, payload: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=True)


def publication(on: str, text: str) -> bytes:
    return orjson.dumps(
        {
            "id": 1,
            "jsonrpc": "2.0",
            "method": "irn_publish",
            "params": {"topic": on, "message": text, "ttl": 60, "tag": 1},
        }
    )


def every_kind_of_frame(on: str) -> tuple[bytes, list[str]]:
    """Bytes of a client, and the texts that it thereby publishes."""
    texts = [f"{n} {'x' * size}" for n, size in enumerate([0, 150, 70_000, 0, 300, 0])]
    bodies = [publication(on, text) for text in texts]
    stream = [
        frame(Opcode.TEXT, bodies[0]),
        frame(Opcode.PING, b"here?"),
        frame(Opcode.BINARY, bodies[1]),
        frame(Opcode.TEXT, bodies[2]),
        frame(Opcode.PONG, b""),
        frame(Opcode.TEXT, bodies[3]),
        frame(Opcode.TEXT, bodies[4][:9], fin=False),
        frame(Opcode.PING, b""),
        frame(Opcode.CONT, bodies[4][9:]),
        frame(Opcode.TEXT, bodies[5]),
    ]
    return b"".join(stream), texts


@pytest.mark.parametrize("size", [1, 2, 3, 5, 13, 200, 4096, 1_000_000])
async def test_frames_arrive_whole_and_in_order(join, size):
    alice, bob = await join(), await join()
    on = topic()
    await bob.subscribe(on)
    stream, texts = every_kind_of_frame(on)
    # The start, which has the headers of most frames, in pieces of that size; then the rest.
    pieces = [stream[at : at + size] for at in range(0, 800, size)]
    pieces.append(stream[sum(map(len, pieces)) :])
    for piece in pieces:
        alice.socket.transport.write(piece)
        await asyncio.sleep(0.001)

    assert await bob.heard(len(texts)) == texts


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (Frame(Opcode.TEXT, b"not masked").serialize(mask=False), 1002),
        (b"\xc1\x80" + bytes(4), 1002),
        (b"\x83\x80" + bytes(4), 1002),
        (frame(Opcode.TEXT, b"x" * 3_000), 1009),
        (frame(Opcode.TEXT, b"x" * 3_000)[:8], 1009),
        (b"\x81\xff" + b"\xff" * 8 + bytes(4), 1009),
    ],
    # Masks are random, and a test's name must not be.
    ids=["unmasked", "reserved bit", "unknown opcode", "long", "long head", "longest"],
)
async def test_a_wrong_frame_ends_the_connection_and_what_follows_is_ignored(
    db, wrong, code
):
    async with running_node(relay_frame_bytes=2_000) as node:
        async with connected(node.url, key()) as alice:
            await alice.publish(topic(), "well-formed")
            received = node.hub.counts.frames_received
            behind = frame(Opcode.TEXT, publication(topic(), "behind"))
            alice.socket.transport.write(wrong + behind)
            assert (await alice.closed())[0] == code
        assert node.hub.counts.frames_received == received
