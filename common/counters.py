"""Counters that all processes and machines share, for ``/metrics``.

One hash in Redis, ``counters``, with fields ``name:label``. They are added after commit,
once per batch. Losing Redis starts them at zero, which Prometheus takes for a restart.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import redis
from django.db import transaction

from common.connections import shared_redis

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

KEY: Final = "counters"


def count(name: str, by_label: Mapping[str, int]) -> None:
    """Add to the counter ``name``, by label, once this transaction is committed.

    Labels come from a fixed set of ours, never from a peer.
    """
    added = {label: number for label, number in by_label.items() if number}
    if not added:
        return

    def add() -> None:
        try:
            with shared_redis().pipeline(transaction=False) as pipe:
                for label, number in added.items():
                    pipe.hincrby(KEY, f"{name}:{label}", number)
                pipe.execute()
        except redis.RedisError as error:
            logger.warning("not counted", extra={"counter": name, "error": error})

    transaction.on_commit(add, robust=True)


def totals() -> dict[tuple[str, str], int]:
    """Every counter by name and label. Raises ``RedisError``."""
    found: dict[Any, Any] = shared_redis().hgetall(KEY)
    totals = {}
    for field, value in found.items():
        name, _, label = field.decode().partition(":")
        totals[name, label] = int(value)
    return totals
