"""One reading and rendering for all sockets of a person in this process.

Ten tabs, or ten devices, that stand at the same number ask for the same batch: the first
starts the work, the others wait for it. A moment passes before it begins, so that changes
that come close together become one batch.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeAlias

from channels.db import database_sync_to_async

from dashboard.live import Cursor, next_batch

if TYPE_CHECKING:
    from dashboard.live import Batch

GATHER_S: Final = 0.015

_Key: TypeAlias = tuple[int, str, int, str]


class Hub:
    """Batches that are being made, by who asked and from where."""

    def __init__(self) -> None:
        self._running: dict[_Key, asyncio.Task[Batch]] = {}

    async def batch(self, user_id: int, cursor: Cursor, *, zone: str) -> Batch:
        # Tasks belong to an event loop; a process serves one, tests use several.
        loop = str(id(asyncio.get_running_loop()))
        key = (user_id, f"{loop} {cursor.generation}", cursor.sequence, zone)
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._make(key, cursor))
            self._running[key] = task
        # Shielded: one socket that closes must not take the others' batch with it.
        return await asyncio.shield(task)

    async def _make(self, key: _Key, cursor: Cursor) -> Batch:
        try:
            await asyncio.sleep(GATHER_S)
        finally:
            # Who asks from now on may see later events: that is another batch.
            self._running.pop(key, None)
        user_id, _, _, zone = key
        return await database_sync_to_async(next_batch)(user_id, cursor, zone=zone)


hub = Hub()
