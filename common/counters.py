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
    added = {f"{name}:{label}": number for label, number in by_label.items() if number}
    transaction.on_commit(lambda: add(KEY, added), robust=True)


def add(key: str, added: Mapping[str, int]) -> None:
    """Add to fields of a hash in one round trip; lost while Redis does not answer."""
    if not added:
        return
    try:
        with shared_redis().pipeline(transaction=False) as pipe:
            for field, number in added.items():
                pipe.hincrby(key, field, number)
            pipe.execute()
    except redis.RedisError as error:
        logger.warning("not counted", extra={"counters": key, "error": error})


def totals() -> dict[tuple[str, str], int]:
    """Every counter by name and label. Raises ``RedisError``."""
    found: dict[Any, Any] = shared_redis().hgetall(KEY)
    totals = {}
    for field, value in found.items():
        name, _, label = field.decode().partition(":")
        totals[name, label] = int(value)
    return totals
