"""A scriptable relay client that records all frames, for tests of the relay."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from common import clock, entropy
from walletconnect.crypto.signing import IdentityKey
from walletconnect.relay.auth import make_client_auth

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from websockets.asyncio.client import ClientConnection

TIMEOUT_S = 30


class Refused(Exception):
    """The relay answered with an error object."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']} {error['message']}")
        self.code = error["code"]
        self.message = error["message"]
        self.tag = error.get("data")


@dataclass
class Delivered:
    """One `irn_subscription` frame."""

    id: Any
    method: str
    subscription: str
    topic: str
    message: str
    published_at: int
    tag: int
    at: float
    frame: dict[str, Any] = field(repr=False)


def topic() -> str:
    return entropy.token_hex(32)


def key() -> IdentityKey:
    return IdentityKey.from_seed(entropy.key_bytes())


def token(owner: IdentityKey, *, now: int | None = None) -> str:
    return make_client_auth(
        owner,
        aud="wss://relay.example",
        now=clock.now_s() if now is None else now,
        nonce=entropy.key_bytes(),
    )


def address(url: str, **query: str) -> str:
    return f"{url}/?{urlencode(query)}"


class WireClient:
    """One connection. ``acknowledges`` decides whether deliveries are answered."""

    def __init__(
        self, socket: ClientConnection, owner: IdentityKey, *, acknowledges: bool
    ) -> None:
        self.socket = socket
        self.owner = owner
        self.did = owner.did
        self.acknowledges = acknowledges
        self.deliveries: list[Delivered] = []
        self.frames: list[dict[str, Any]] = []
        self._ids = itertools.count(clock.payload_id())
        self._changed = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def call(self, method: str, **params: Any) -> Any:
        """The result of a request, or `Refused`."""
        return (await self.answer(next(self._ids), method, params))["result"]

    async def answer(
        self, request_id: Any, method: str, params: dict[str, Any]
    ) -> dict[str, Any]:
        """The whole answer; `Refused` if it is an error."""
        await self.ask(request_id, method, params)
        frame = await self.answered(request_id)
        if "error" in frame:
            raise Refused(frame["error"])
        return frame

    async def ask(self, request_id: Any, method: str, params: dict[str, Any]) -> None:
        request = {
            "id": request_id,
            "jsonrpc": "2.0",
            "method": method,
            "params": params,
        }
        await self.send(orjson.dumps(request).decode())

    async def send(self, frame: str) -> None:
        await self.socket.send(frame)

    async def answered(self, request_id: Any) -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            for frame in self.frames:
                if "method" not in frame and frame["id"] == request_id:
                    return frame
            return None

        return await self.until(find)

    async def publish(self, on: str, message: str, **more: Any) -> Any:
        params = {"topic": on, "message": message, "ttl": 300, "tag": 4002, **more}
        return await self.call("irn_publish", **params)

    async def subscribe(self, on: str) -> str:
        return await self.call("irn_subscribe", topic=on)

    async def acknowledge(self, delivered: Delivered) -> None:
        answer = {"id": delivered.id, "jsonrpc": "2.0", "result": True}
        await self.send(orjson.dumps(answer).decode())

    async def heard(self, count: int) -> list[str]:
        """The texts delivered so far, once there are ``count``."""
        await self.until(lambda: len(self.deliveries) >= count)
        return self.texts

    @property
    def texts(self) -> list[str]:
        return [each.message for each in self.deliveries]

    async def settled(self, on: str) -> None:
        """Wait until everything published before on this topic must have arrived."""
        marker = f"marker {entropy.token_hex(8)}"
        async with connected(self.url, key()) as other:
            await other.publish(on, marker)
        await self.until(lambda: marker in self.texts)
        self.deliveries = [each for each in self.deliveries if each.message != marker]

    async def closed(self) -> tuple[int, str]:
        """Close code and reason, once the relay has closed the connection."""
        async with asyncio.timeout(TIMEOUT_S):
            await self.socket.wait_closed()
        return self.socket.close_code or 0, self.socket.close_reason or ""

    async def until(self, condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(TIMEOUT_S), self._changed:
            await self._changed.wait_for(lambda: condition() or self._reader.done())
        found = condition()
        assert found, f"the connection ended: {self.socket.close_code}"
        return found

    async def close(self) -> None:
        await self.socket.close()
        await self._reader

    def drop(self) -> None:
        """Abort without a close frame."""
        self.socket.transport.abort()

    @property
    def url(self) -> str:
        host, port = self.socket.remote_address[:2]
        return f"ws://{host}:{port}"

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                frame = orjson.loads(text)
                if "method" in frame:
                    await self._take(frame)
                async with self._changed:
                    self.frames.append(frame)
                    self._changed.notify_all()
        except ConnectionClosed:
            pass
        finally:
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        self._waking = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _take(self, frame: dict[str, Any]) -> None:
        params = frame["params"]
        published = params["data"]
        delivered = Delivered(
            id=frame["id"],
            method=frame["method"],
            subscription=params["id"],
            topic=published["topic"],
            message=published["message"],
            published_at=published["publishedAt"],
            tag=published["tag"],
            at=clock.monotonic(),
            frame=frame,
        )
        self.deliveries.append(delivered)
        if self.acknowledges:
            await self.acknowledge(delivered)


@asynccontextmanager
async def connected(
    url: str, owner: IdentityKey, *, acknowledges: bool = True, forwarded: str = ""
) -> AsyncIterator[WireClient]:
    """A client of the relay at ``url``, admitted with a fresh token."""
    target = address(url, auth=token(owner), projectId="test", useOnCloseEvent="true")
    headers = {"X-Forwarded-For": forwarded} if forwarded else None
    async with connect(
        target, compression=None, max_size=None, additional_headers=headers
    ) as socket:
        client = WireClient(socket, owner, acknowledges=acknowledges)
        try:
            yield client
        finally:
            await client.close()
