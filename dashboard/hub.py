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
        self._waiters: dict[asyncio.Task[Batch], int] = {}

    async def batch(self, user_id: int, cursor: Cursor, *, zone: str) -> Batch:
        # Tasks belong to an event loop; a process serves one, tests use several.
        loop = str(id(asyncio.get_running_loop()))
        key = (user_id, f"{loop} {cursor.generation}", cursor.sequence, zone)
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._make(key, cursor))
            self._running[key] = task
        self._waiters[task] = self._waiters.get(task, 0) + 1
        try:
            # Shielded: one socket that closes must not take the others' batch with it.
            return await asyncio.shield(task)
        finally:
            self._waiters[task] -= 1
            if not self._waiters[task]:
                del self._waiters[task]
                # All sockets closed: what has not begun must not wait for a database
                # that is slow, ahead of those that are still open.
                task.cancel()
                if self._running.get(key) is task:
                    # A task cancelled before its first step does not get to forget itself.
                    del self._running[key]

    async def _make(self, key: _Key, cursor: Cursor) -> Batch:
        try:
            await asyncio.sleep(GATHER_S)
        finally:
            # Who asks from now on may see later events: that is another batch.
            if self._running.get(key) is asyncio.current_task():
                del self._running[key]
        user_id, _, _, zone = key
        return await database_sync_to_async(next_batch)(user_id, cursor, zone=zone)


hub = Hub()
