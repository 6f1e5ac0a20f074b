"""A small scripted relay, for behaviour that a correct relay never shows.

It speaks the real wire on a real socket. It keeps what is published, hands out what a
test delivers, and can refuse, stay silent, not know a method, or cut the line.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from concurrent.futures import Future
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

UNKNOWN = {"code": -32601, "message": "method not found"}


class RecordingRelay:
    def __init__(self, port: int = 0) -> None:
        self.port = port
        # In the order in which they were accepted.
        self.published: list[dict] = []
        self.frames: list[dict] = []
        self.acknowledged: list[object] = []
        self.subscribed: dict[str, set[str]] = {}
        self.tokens: list[str] = []
        self.unknown_methods: set[str] = set()
        # (method, params) -> error object, "silence", "cut", or None for the usual.
        self.on_call = lambda method, params: None
        self.close_at_connect: int | None = None
        self.connects = 0
        # Whose call is being answered, and which topics each client published to.
        self.caller = ""
        self.published_by: dict[str, set[str]] = {}
        self._connections: dict[ServerConnection, str] = {}
        self._loop = asyncio.new_event_loop()
        self._ready: Future[None] = Future()
        self._stop = asyncio.Event()
        self._ids = iter(range(1, 10**9))
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def __enter__(self) -> RecordingRelay:
        self._thread.start()
        self._ready.result(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        async with serve(self._client, "127.0.0.1", self.port, max_size=None) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set_result(None)
            await self._stop.wait()

    # --- what a test does -------------------------------------------------------------

    def deliver(self, topic: str, messages: list[str], *, tag: int) -> list[int]:
        """Hand messages to every connection; the ids of the frames."""
        frames = []
        for message in messages:
            params = {
                "id": "subscription",
                "data": {
                    "topic": topic,
                    "message": message,
                    "publishedAt": int(time.time() * 1000),
                    "tag": tag,
                },
            }
            frames.append(
                {
                    "id": next(self._ids),
                    "jsonrpc": "2.0",
                    "method": "irn_subscription",
                    "params": params,
                }
            )
        self.send(frames)
        return [frame["id"] for frame in frames]

    def send(self, frames: list[dict | str]) -> None:
        texts = [each if isinstance(each, str) else json.dumps(each) for each in frames]

        async def send() -> None:
            for connection in list(self._connections):
                for text in texts:
                    await connection.send(text)

        asyncio.run_coroutine_threadsafe(send(), self._loop).result(30)

    def cut(self, code: int = 1001) -> None:
        """Close every connection."""

        async def close() -> None:
            for connection in list(self._connections):
                await connection.close(code, "cut by the test")

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)

    def clients(self) -> list[str]:
        return list(self._connections.values())

    def methods(self) -> list[str]:
        return [frame["method"] for frame in self.frames]

    # --- the wire ---------------------------------------------------------------------

    async def _client(self, connection: ServerConnection) -> None:
        self.connects += 1
        query = parse_qs(urlsplit(connection.request.path).query)
        token = query["auth"][0]
        self.tokens.append(token)
        if self.close_at_connect is not None:
            await connection.close(self.close_at_connect, "not you")
            return
        self._connections[connection] = token
        try:
            async for text in connection:
                await self._frame(connection, json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            self._connections.pop(connection, None)

    async def _frame(self, connection: ServerConnection, frame: dict) -> None:
        if "method" not in frame:
            self.acknowledged.append(frame["id"])
            return
        self.frames.append(frame)
        self.caller = self._connections[connection]
        method, params = frame["method"].removeprefix("irn_"), frame["params"]
        verdict = self.on_call(method, params)
        if method in self.unknown_methods:
            verdict = UNKNOWN
        if verdict == "silence":
            return
        if verdict == "cut":
            await connection.close(1011, "cut by the test")
            return
        answer = {"id": frame["id"], "jsonrpc": "2.0"}
        if verdict is None:
            answer["result"] = self._do(method, params)
        else:
            answer["error"] = verdict
        await connection.send(json.dumps(answer))

    def _do(self, method: str, params: dict) -> object:
        if method == "publish":
            self._publish(params)
        if method == "batchPublish":
            for each in params["messages"]:
                self._publish(each)
        if method == "subscribe":
            self.subscribed.setdefault(params["topic"], set()).add("live")
            return hashlib.sha256(params["topic"].encode()).hexdigest()
        if method == "batchSubscribe":
            for topic in params["topics"]:
                self.subscribed.setdefault(topic, set()).add("live")
            return list(params["topics"])
        if method == "unsubscribe":
            self.subscribed.pop(params["topic"], None)
        if method == "batchUnsubscribe":
            for each in params["subscriptions"]:
                self.subscribed.pop(each["topic"], None)
        return True

    def _publish(self, params: dict) -> None:
        self.published_by.setdefault(self.caller, set()).add(params["topic"])
        known = [(each["topic"], each["message"]) for each in self.published]
        if (params["topic"], params["message"]) not in known:
            self.published.append(params)
