"""Concurrent network work: claim, send, record, until nothing is due.

``drain`` is how a task works on a queue of ``common.work_queue`` whose items wait for
other servers. ``single_run`` keeps a second task from doing the same work concurrently.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final, TypeVar

from celery import shared_task

from common import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery import Task

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Set when the process ends: running items are finished, no more are claimed.
stopping = threading.Event()
# With the wait for the items that still run it stays below the limit of the task.
BUDGET_S: Final = 90.0
DRAIN_TIME_LIMIT_S: Final = 115


def drain(
    claim: Callable[[int], Sequence[_Item]],
    work: Callable[[_Item], _Result],
    record: Callable[[list[_Result]], None],
    *,
    slots: int,
    budget_s: float = BUDGET_S,
    poll_s: float = 0.5,
) -> int:
    """Work on what is due, ``slots`` at a time, until nothing is left or time is over.

    ``claim`` and ``record`` run in this thread and may use the database; ``work`` runs
    in threads and waits for the network, so it must not use the database. A slow item
    holds one slot and nothing else: the others are recorded and replaced as they finish. Returns how many
    items were taken.
    """
    until = clock.monotonic() + budget_s
    taken = 0
    running: set[Future[_Result]] = set()
    with ThreadPoolExecutor(slots, thread_name_prefix="work") as threads:
        while True:
            room = slots - len(running)
            if room > 0 and clock.monotonic() < until and not stopping.is_set():
                items = claim(room)
                taken += len(items)
                # Tests freeze the clock in a context variable; threads need a copy.
                running |= {
                    threads.submit(contextvars.copy_context().run, work, item)
                    for item in items
                }
            if not running:
                return taken
            finished, running = wait(
                running, timeout=poll_s, return_when=FIRST_COMPLETED
            )
            if finished:
                record([each.result() for each in finished])


class SingleRun:
    """Runs one of several concurrent calls in a process; the others make it run again.

    For tasks that take all due rows: a second one would find the same rows, and skipping
    it could miss a row that became due as the first was about to end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._again: set[str] = set()

    def __call__(self, name: str, run: Callable[[], object]) -> None:
        with self._lock:
            if name in self._running:
                self._again.add(name)
                return
            self._running.add(name)
        while True:
            try:
                run()
            except BaseException:
                with self._lock:
                    self._again.discard(name)
                    self._running.discard(name)
                raise
            with self._lock:
                if name not in self._again or stopping.is_set():
                    self._again.discard(name)
                    self._running.discard(name)
                    return
                self._again.discard(name)


single_run = SingleRun()


def drain_task(name: str) -> Callable[[Callable[[], None]], Task[[], None]]:
    """A Celery task of this name that takes all due rows by ``drain``."""

    def decorate(work: Callable[[], None]) -> Task[[], None]:
        @shared_task(
            name=name,
            time_limit=DRAIN_TIME_LIMIT_S,
            soft_time_limit=DRAIN_TIME_LIMIT_S - 5,
        )
        @functools.wraps(work)
        def run() -> None:
            single_run(name, work)

        return run

    return decorate
