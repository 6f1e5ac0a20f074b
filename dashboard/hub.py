"""Shares one read and one rendering between all sockets of a user in this process.

Tabs and devices with the same cursor, time zone and language need the same batch: the
first request starts a task, the others await it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeAlias

from channels.db import database_sync_to_async

from dashboard.live import Cursor, next_batch

if TYPE_CHECKING:
    from dashboard.live import Batch

# Wait before reading, so that events committed close together end up in one batch.
GATHER_S: Final = 0.015

_Key: TypeAlias = tuple[int, str, int, str, str]


class Hub:
    """Running batches by user, event loop, cursor, time zone and language."""

    def __init__(self) -> None:
        self._running: dict[_Key, asyncio.Task[Batch]] = {}
        self._waiters: dict[asyncio.Task[Batch], int] = {}

    async def batch(
        self, user_id: int, cursor: Cursor, *, zone: str, language: str
    ) -> Batch:
        # A task belongs to one event loop; tests run several in one process.
        loop = str(id(asyncio.get_running_loop()))
        generation = f"{loop} {cursor.generation}"
        key = (user_id, generation, cursor.sequence, zone, language)
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._make(key, cursor))
            self._running[key] = task
        self._waiters[task] = self._waiters.get(task, 0) + 1
        try:
            # Shielded: closing one socket must not cancel the batch of the others.
            return await asyncio.shield(task)
        finally:
            self._waiters[task] -= 1
            if not self._waiters[task]:
                del self._waiters[task]
                # All sockets closed: do not occupy a thread of the pool without a reader
                # while open sockets wait for one.
                task.cancel()
                if self._running.get(key) is task:
                    # A task cancelled before its first step never runs its `finally`.
                    del self._running[key]

    async def _make(self, key: _Key, cursor: Cursor) -> Batch:
        try:
            await asyncio.sleep(GATHER_S)
        finally:
            # The read starts now: later requests need a batch with later events.
            if self._running.get(key) is asyncio.current_task():
                del self._running[key]
        user_id, _, _, zone, language = key
        return await database_sync_to_async(next_batch)(
            user_id, cursor, zone=zone, language=language
        )


hub = Hub()
