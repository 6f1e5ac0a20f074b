"""Network work side by side: claim, send, record, until nothing is due.

``drain`` is how a task works on a queue of ``common.work_queue`` whose items wait for
other servers. ``single_run`` keeps a second task of its kind from doing the same beside it.
"""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final, TypeVar

from common import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Set when the process ends: what runs is finished, nothing more is claimed.
stopping = threading.Event()
# With the wait for what is still running it stays below the time after which the broker
# delivers the task again.
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
    in threads and waits for the network, so it must not. A slow item holds one slot and
    nothing else: the others are recorded and replaced as they finish. Returns how many
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
                # Each thread sees the clock of this one.
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
    """Of several calls in one process one runs; another has it run once more.

    For tasks that take whatever is due: a second one beside the first would find the
    same rows, and one that was skipped could miss a row that came at the very end.
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
