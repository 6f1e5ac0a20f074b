"""Runs coroutines concurrently. An exception is raised unchanged and cancels the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence

T = TypeVar("T")
CANCEL_AGAIN_S: Final = 2.0


async def all_of(coroutines: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """All results, in order; the first exception cancels the others."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await cancel(tasks)


async def first_to_end(*coroutines: Coroutine[None, None, None]) -> None:
    """Run concurrently; the first that ends, normally or not, cancels the others."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await cancel(tasks)


async def until_done(
    tasks: Sequence[asyncio.Task[None]], companions: Sequence[asyncio.Task[None]]
) -> None:
    """Wait until ``tasks`` are done; an exception of any, or of a companion, is raised."""
    pending = {*tasks, *companions}
    while not all(task.done() for task in tasks):
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


async def cancel(tasks: Iterable[asyncio.Task[T]]) -> None:
    """Cancel and wait until each has ended; their results are dropped.

    Repeats the cancellation, because ``asyncio.wait_for`` on Python 3.11, which the pool
    of psycopg uses, can lose one.
    """
    found = list(tasks)
    running = set(found)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)
    await asyncio.gather(*found, return_exceptions=True)
