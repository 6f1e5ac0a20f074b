"""Wake-ups: hints that work is due, sent after commit.

A hint may be lost without harm: the sweeps of ``notifyweb.schedule`` find due rows in the
database, so an outage of Redis costs time, never work.

A task has at most one wake-up waiting, marked by a key in Redis until the task starts. A
thousand events while a worker is busy queue one task, not a thousand.
"""

from __future__ import annotations

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
# How long a wake-up that was lost with a killed worker suppresses others; sweeps come at
# least as often.
TASK_KEY_S: Final = 30
# Delays above it are counted in seconds, below in tenths.
COARSE_FROM_S: Final = 5.0


def channel_name(channel: str) -> str:
    """The Redis channel on which ``wake(channel)`` publishes."""
    return CHANNEL_PREFIX + channel


def wake(channel: str) -> None:
    """Publish on ``channel`` that rows are due, once this is committed."""

    def publish() -> None:
        try:
            shared_redis().publish(channel_name(channel), b"")
        except redis.RedisError as error:
            logger.warning(
                "wake-up not sent", extra={"channel": channel, "error": error}
            )

    _once_after_commit(f"wake {channel}", publish)


def enqueue_on_commit(
    task_name: str, *args: int | str | list[int], delay_s: float = 0.0
) -> None:
    """Start a task by name after commit, unless one like it is waiting to start.

    ``args`` are primary keys and names only. ``delay_s`` is for seconds; longer waits
    belong into a row.
    """

    def enqueue() -> None:
        signature = celery.signature(task_name, args=args)
        due_at = None
        if delay_s:
            # In steps, so that many share one wake-up; rounded up, so never too early.
            now = clock.now().timestamp()
            step = 0.1 if delay_s < COARSE_FROM_S else 1.0
            due_at = math.ceil((now + delay_s) / step) * step
            signature = signature.set(countdown=due_at - now)
        try:
            if reserve_wake_up(task_name, args, due_at=due_at):
                signature.apply_async()
        except (OperationalError, redis.RedisError) as error:
            logger.warning(
                "task not started", extra={"task": task_name, "error": error}
            )

    _once_after_commit(f"task {task_name} {args} {delay_s}", enqueue)


def reserve_wake_up(
    task_name: str, args: Sequence[object] = (), *, due_at: float | None = None
) -> bool:
    """Mark a wake-up as waiting; False if one like it is waiting already.

    Delayed ones are distinguished by their start (``due_at``, seconds since 1970): a late
    one must not suppress an early one. Raises ``RedisError``.
    """
    key, lifetime_s = _task_key(task_name, args), float(TASK_KEY_S)
    if due_at is not None:
        key += f"@{due_at:.1f}"
        lifetime_s += max(0.0, due_at - clock.now().timestamp())
    return bool(shared_redis().set(key, b"", nx=True, px=round(lifetime_s * 1000)))


def wake_up_started(task_name: str, args: Sequence[object] = ()) -> None:
    """A task begins: rows that become due from now on need another wake-up."""
    try:
        shared_redis().delete(_task_key(task_name, args))
    except redis.RedisError as error:
        logger.warning("wake-up not cleared", extra={"task": task_name, "error": error})


def forget_wake_ups() -> None:
    """Clear all marks when a worker starts: killed workers leave marks behind."""
    try:
        client = shared_redis()
        for key in client.scan_iter(TASK_PREFIX + "*", count=1_000):
            client.delete(key)
    except redis.RedisError as error:
        logger.warning("wake-ups not cleared", extra={"error": error})


def _task_key(task_name: str, args: Sequence[object]) -> str:
    return f"{TASK_PREFIX}{task_name}{json.dumps(list(args)) if args else ''}"


def _once_after_commit(label: str, effect: Callable[[], None]) -> None:
    # A transaction that sends the same hint a thousand times sends it once.
    hooks = transaction.get_connection().run_on_commit
    if any(getattr(hook[1], "wake_label", None) == label for hook in hooks):
        return

    def hook() -> None:
        effect()

    hook.wake_label = label  # type: ignore[attr-defined]
    transaction.on_commit(hook, robust=True)
