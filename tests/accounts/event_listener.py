"""Receives the hints that web processes get, over the real layer in Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from channels.layers import channel_layers

from accounts.services import LIVE_GROUP

if TYPE_CHECKING:
    from types import TracebackType

TIMEOUT_S = 20


class HintListener:
    """A channel that joined the group; ``received()`` returns and removes its messages.

    It has a layer and a loop of its own, as another process would.
    """

    def __init__(self) -> None:
        self._loop = asyncio.Runner()
        self._layer = channel_layers.make_backend("default")
        self._channel = self._loop.run(self._layer.new_channel())
        self._loop.run(self._layer.group_add(LIVE_GROUP, self._channel))

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

    def __enter__(self) -> HintListener:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.run(self._layer.flush())
        self._loop.close()
