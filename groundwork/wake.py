"""Wake-ups: hints that work is due, sent after commit.

A hint may be lost without harm. What is due is found in the database by the sweeps
of ``notifyweb.schedule``, so a Redis that is away costs time, never work.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

import celery
import redis
from django.db import transaction
from kombu.exceptions import OperationalError

from groundwork.connections import shared_redis

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

CHANNEL_PREFIX = "wake:"


def channel_name(channel: str) -> str:
    """The Redis channel on which ``wake(channel)`` publishes."""
    return CHANNEL_PREFIX + channel


def wake(channel: str) -> None:
    """Tell whoever listens on ``channel`` that rows are due, once this is committed."""
    _once_after_commit(f"wake {channel}", functools.partial(_announce, channel))


def enqueue_on_commit(
    task_name: str, *args: int | str | list[int], delay_s: float = 0.0
) -> None:
    """Start a task by name after commit; ``args`` are primary keys and names only.

    ``delay_s`` is for moments; what waits for longer waits in the database.
    """
    signature = celery.signature(task_name, args=args)
    if delay_s:
        signature = signature.set(countdown=delay_s)
    transaction.on_commit(functools.partial(_enqueue, signature), robust=True)


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


def _enqueue(signature: celery.canvas.Signature) -> None:
    try:
        signature.apply_async()
    except (OperationalError, redis.RedisError) as error:
        name = signature.task
        logger.warning("task not started", extra={"task": name, "error": error})
