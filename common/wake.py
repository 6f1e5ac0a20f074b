"""Wake-ups: hints that work is due, sent after commit.

A hint may be lost without harm. What is due is found in the database by the sweeps
of ``notifyweb.schedule``, so a Redis that is away costs time, never work.

A task has at most one wake-up waiting: a key in Redis stands for it until the task
starts. A thousand events while a worker is busy are one task behind it, not a thousand.
"""

from __future__ import annotations

import functools
import json
import logging
import math
from typing import TYPE_CHECKING, Final

import celery
import redis
from django.db import transaction
from kombu.exceptions import OperationalError

from common import clock
from common.connections import shared_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

CHANNEL_PREFIX = "wake:"
TASK_PREFIX: Final = "wake-up:"
# A wake-up that was lost with a killed worker holds back others for so long, no longer
# than the next sweep.
TASK_KEY_S: Final = 30
# Delays above it are counted in seconds, below in tenths.
COARSE_FROM_S: Final = 5.0


def channel_name(channel: str) -> str:
    """The Redis channel on which ``wake(channel)`` publishes."""
    return CHANNEL_PREFIX + channel


def wake(channel: str) -> None:
    """Publish on ``channel`` that rows are due, once this is committed."""
    _once_after_commit(f"wake {channel}", functools.partial(_announce, channel))


def enqueue_on_commit(
    task_name: str, *args: int | str | list[int], delay_s: float = 0.0
) -> None:
    """Start a task by name after commit, unless one like it is waiting to start.

    ``args`` are primary keys and names only. ``delay_s`` is for moments; what waits for
    longer waits in the database.
    """
    _once_after_commit(
        f"task {task_name} {args} {delay_s}",
        functools.partial(_enqueue, task_name, args, delay_s),
    )


def reserve_wake_up(
    task_name: str, args: Sequence[object] = (), *, due_at: float | None = None
) -> bool:
    """Whether no wake-up like it is waiting; if so, this one is from now on.

    Delayed ones are told apart by the moment (``due_at``, seconds since 1970) at which
    they start: a late one must not hold back an early one. Raises ``RedisError``.
    """
    key, lifetime_s = _task_key(task_name, args), float(TASK_KEY_S)
    if due_at is not None:
        key += f"@{due_at:.1f}"
        lifetime_s += max(0.0, due_at - clock.now().timestamp())
    return bool(shared_redis().set(key, b"", nx=True, px=round(lifetime_s * 1000)))


def _moment_after(delay_s: float) -> float:
    """When a delayed wake-up starts: in steps, so that many share one, never early."""
    step = 0.1 if delay_s < COARSE_FROM_S else 1.0
    return math.ceil((clock.now().timestamp() + delay_s) / step) * step


def wake_up_started(task_name: str, args: Sequence[object] = ()) -> None:
    """A task begins: what becomes due from now on needs another wake-up."""
    try:
        shared_redis().delete(_task_key(task_name, args))
    except redis.RedisError as error:
        logger.warning("wake-up not cleared", extra={"task": task_name, "error": error})


def forget_wake_ups() -> None:
    """A worker starts: those before it may have died with wake-ups that still count."""
    try:
        client = shared_redis()
        for key in client.scan_iter(TASK_PREFIX + "*", count=1_000):
            client.delete(key)
    except redis.RedisError as error:
        logger.warning("wake-ups not cleared", extra={"error": error})


def _task_key(task_name: str, args: Sequence[object]) -> str:
    return f"{TASK_PREFIX}{task_name}{json.dumps(list(args)) if args else ''}"


def _once_after_commit(label: str, effect: Callable[[], None]) -> None:
    # A transaction that wakes the same listener a thousand times sends one hint.
    hooks = transaction.get_connection().run_on_commit
    if any(getattr(hook[1], "wake_label", None) == label for hook in hooks):
        return

    def hook() -> None:
        effect()

    hook.wake_label = label  # type: ignore[attr-defined]
    transaction.on_commit(hook, robust=True)


def _announce(channel: str) -> None:
    try:
        shared_redis().publish(channel_name(channel), b"")
    except redis.RedisError as error:
        logger.warning("wake-up not sent", extra={"channel": channel, "error": error})


def _enqueue(task_name: str, args: Sequence[object], delay_s: float) -> None:
    signature = celery.signature(task_name, args=args)
    due_at = _moment_after(delay_s) if delay_s else None
    if due_at is not None:
        countdown = due_at - clock.now().timestamp()
        signature = signature.set(countdown=countdown)
    try:
        if reserve_wake_up(task_name, args, due_at=due_at):
            signature.apply_async()
    except (OperationalError, redis.RedisError) as error:
        logger.warning("task not started", extra={"task": task_name, "error": error})
