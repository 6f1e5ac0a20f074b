"""Prunes the log of updates; the line of a key's current update stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db import connection

from common import clock

KEEP_FOR: Final = timedelta(days=90)
PRUNE_BATCH_SIZE: Final = 1_000

_PRUNE: Final = """
DELETE FROM syncstore_storeupdate WHERE id IN (
    SELECT line.id FROM syncstore_storeupdate AS line
    WHERE line.at < %s AND NOT EXISTS (
        SELECT 1 FROM syncstore_storeentry AS entry
        WHERE entry.store_id = line.store_id AND entry.key = line.key
            AND entry.last_id = line.rpc_id AND line.outcome = 'applied'
    )
    LIMIT %s
)
"""


def prune_updates() -> int:
    """Delete old lines in batches; returns how many."""
    before = clock.now() - KEEP_FOR
    pruned = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_PRUNE, [before, PRUNE_BATCH_SIZE])
            pruned += int(cursor.rowcount)
            if cursor.rowcount < PRUNE_BATCH_SIZE:
                return pruned
