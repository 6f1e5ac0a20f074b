"""Hearing what a Channels group is told: the real layer, in Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from channels.layers import channel_layers

if TYPE_CHECKING:
    from types import TracebackType

ENOUGH_S = 0.2


class Ear:
    """A channel that joined a group; ``heard()`` takes out what was sent to it.

    It has a layer and a loop of its own, as another process would.
    """

    def __init__(self, group: str) -> None:
        self._loop = asyncio.Runner()
        self._layer = channel_layers.make_backend("default")
        self._channel = self._loop.run(self._layer.new_channel())
        self._loop.run(self._layer.group_add(group, self._channel))

    def heard(self) -> list[dict]:
        return self._loop.run(self._drain())

    async def _drain(self) -> list[dict]:
        found = []
        while True:
            try:
                # What was sent before this is in Redis already.
                waiting = self._layer.receive(self._channel)
                found.append(await asyncio.wait_for(waiting, ENOUGH_S))
            except TimeoutError:
                return found

    def __enter__(self) -> Ear:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.run(self._layer.close_pools())
        self._loop.close()
