"""Ending tasks for good, also those that lose a cancellation."""

from __future__ import annotations

import asyncio
import contextlib

from messaging.gateway import running


async def deaf_once(heard: list[int]) -> None:
    """Loses its first cancellation, as ``asyncio.wait_for`` of Python 3.11 may."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    heard.append(1)
    await asyncio.sleep(60)


async def failing() -> None:
    raise ValueError


async def test_a_task_that_loses_a_cancellation_is_cancelled_again(monkeypatch):
    monkeypatch.setattr(running, "CANCEL_AGAIN_S", 0.01)
    heard: list[int] = []
    tasks = [asyncio.create_task(deaf_once(heard)), asyncio.create_task(failing())]
    await asyncio.sleep(0)
    await running.cancel(tasks)
    assert heard == [1]
    assert all(task.done() for task in tasks)
    assert tasks[0].cancelled()
