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
from typing import TYPE_CHECKING, Final

import celery
import redis
from django.db import transaction
from kombu.exceptions import OperationalError

from groundwork import clock
from groundwork.connections import shared_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

CHANNEL_PREFIX = "wake:"
TASK_PREFIX: Final = "wake-up:"
# A wake-up that was lost with a killed worker holds back others for so long, no longer
# than the next sweep.
TASK_KEY_S: Final = 30


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
    task_name: str, args: Sequence[object] = (), *, delay_s: float = 0.0
) -> bool:
    """Whether no wake-up like it is waiting; if so, this one is from now on.

    Delayed ones are counted by the second in which they are due: one that is due later
    must not hold back an earlier one. Raises ``RedisError``.
    """
    key = _task_key(task_name, args)
    if delay_s:
        key += f"@{round(clock.now().timestamp() + delay_s)}"
    lifetime_ms = round((TASK_KEY_S + delay_s) * 1000)
    return bool(shared_redis().set(key, b"", nx=True, px=lifetime_ms))


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
    if delay_s:
        signature = signature.set(countdown=delay_s)
    try:
        if reserve_wake_up(task_name, args, delay_s=delay_s):
            signature.apply_async()
    except (OperationalError, redis.RedisError) as error:
        logger.warning("task not started", extra={"task": task_name, "error": error})
