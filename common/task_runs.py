"""The last run and the counts of every task, kept in Redis for ``/ops`` and ``/metrics``.

Key ``task:<name>``. Losing it loses a line of a page and starts the counts at zero.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import redis

from common import clock
from common.connections import shared_redis

logger = logging.getLogger(__name__)

KEY_PREFIX: Final = "task:"
ERROR_LENGTH: Final = 200


@dataclass(frozen=True, slots=True)
class TaskRuns:
    """``error`` is that of the last failure, which ``failed_ms`` dates."""

    last_ms: int = 0
    milliseconds: int = 0
    total_milliseconds: int = 0
    runs: int = 0
    failures: int = 0
    error: str = ""
    failed_ms: int = 0


def record_run(name: str, milliseconds: int, error: str = "") -> None:
    """``error`` may be shown: it must not contain a secret."""
    key = KEY_PREFIX + name
    now = clock.now_ms()
    values: dict[str, int | str] = {"last_ms": now, "milliseconds": milliseconds}
    if error:
        values |= {"error": error[:ERROR_LENGTH], "failed_ms": now}
    try:
        with shared_redis().pipeline(transaction=False) as pipe:
            pipe.hset(key, mapping=values)  # type: ignore[arg-type]  # invariant
            pipe.hincrby(key, "total_milliseconds", milliseconds)
            pipe.hincrby(key, "runs", 1)
            if error:
                pipe.hincrby(key, "failures", 1)
            pipe.execute()
    except redis.RedisError as failure:
        logger.warning("run not recorded", extra={"task": name, "error": failure})


def task_runs(names: list[str]) -> dict[str, TaskRuns]:
    """Those of each name; zeros for a task that never ran. Raises ``RedisError``."""
    with shared_redis().pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hgetall(KEY_PREFIX + name)
        rows = pipe.execute()
    return {name: _parsed(row) for name, row in zip(names, rows, strict=True)}


def _parsed(row: dict[bytes, bytes]) -> TaskRuns:
    texts = {field.decode(): value.decode() for field, value in row.items()}
    error = texts.pop("error", "")
    numbers = {field: int(value) for field, value in texts.items()}
    return TaskRuns(error=error, **numbers)
