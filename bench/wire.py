"""A minimal WebSocket client, so that the server is what limits a measurement."""

from __future__ import annotations

import asyncio
import base64
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# An all-zero mask leaves the payload as it is.
_NO_MASK = bytes(4)


def text_frame(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes((0x81, 0x80 | size))
    elif size < 65536:
        head = b"\x81\xfe" + size.to_bytes(2, "big")
    else:
        head = b"\x81\xff" + size.to_bytes(8, "big")
    return head + _NO_MASK + payload


class Wire(asyncio.Protocol):
    """Calls ``received`` with the payload of every text frame."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._buffer = bytearray()
        self._is_open = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received: Callable[[bytes], None] = _ignore

    def send(self, payload: bytes) -> None:
        self._transport.write(text_frame(payload))

    def send_all(self, payloads: list[bytes]) -> None:
        self._transport.write(b"".join([text_frame(each) for each in payloads]))

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            (
                f"GET {self._target} HTTP/1.1\r\nHost: localhost\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
            ).encode()
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_open:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self._buffer.startswith(b"HTTP/1.1 101"):
                self.opened.set_exception(ConnectionError(bytes(self._buffer[:200])))
                return
            del self._buffer[: end + 4]
            self._is_open = True
            self.opened.set_result(None)
        self._read_frames()

    def _read_frames(self) -> None:
        buffer, at, end = self._buffer, 0, len(self._buffer)
        while end - at >= 2:
            size, start = buffer[at + 1], at + 2
            if size == 126:
                start += 2
                size = int.from_bytes(buffer[at + 2 : start], "big")
            elif size == 127:
                start += 8
                size = int.from_bytes(buffer[at + 2 : start], "big")
            if end < start + size:
                break
            payload = bytes(buffer[start : start + size])
            opcode = buffer[at] & 0x0F
            at = start + size
            if opcode == 1:
                self.received(payload)
            elif opcode == 9:
                self._transport.write(b"\x8a" + text_frame(payload)[1:])
        del buffer[:at]


def _ignore(payload: bytes) -> None:
    pass


async def open_wire(port: int, target: str = "/") -> Wire:
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_connection(lambda: Wire(target), "127.0.0.1", port)
    await wire.opened
    return wire
