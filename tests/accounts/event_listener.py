"""Receives the messages of a Channels group, over the real layer in Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from channels.layers import channel_layers

if TYPE_CHECKING:
    from types import TracebackType

TIMEOUT_S = 20


class GroupListener:
    """A channel that joined a group; ``received()`` returns and removes its messages.

    It has a layer and a loop of its own, as another process would.
    """

    def __init__(self, group: str) -> None:
        self._loop = asyncio.Runner()
        self._layer = channel_layers.make_backend("default")
        self._channel = self._loop.run(self._layer.new_channel())
        self._loop.run(self._layer.group_add(group, self._channel))

    def received(self) -> list[dict]:
        return self._loop.run(self._drain())

    async def _drain(self) -> list[dict]:
        # Redis keeps the order: what was sent before this message arrives before it.
        await self._layer.send(self._channel, {"type": "that.is.all"})
        found = []
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                message = await self._layer.receive(self._channel)
                if message["type"] == "that.is.all":
                    return found
                found.append(message)

    def __enter__(self) -> GroupListener:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.run(self._layer.flush())
        self._loop.close()
