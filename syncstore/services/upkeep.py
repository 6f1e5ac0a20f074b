"""Prunes the log of updates; the line of a key's current update stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import connection

from common import retention

if TYPE_CHECKING:
    from collections.abc import Iterator

PRUNE_BATCH_SIZE: Final = 1_000

# The oldest lines in the order of their ids. What is read in vain are the current lines of
# old keys, so a run costs as much as there are keys, not as there were updates.
_PRUNE: Final = """
WITH oldest AS MATERIALIZED (
    SELECT id, store_id, key, rpc_id, outcome, at FROM syncstore_storeupdate
    WHERE id > %(after)s ORDER BY id LIMIT %(limit)s
), pruned AS (
    DELETE FROM syncstore_storeupdate WHERE id IN (
        SELECT line.id FROM oldest AS line
        WHERE line.at < %(before)s AND NOT EXISTS (
            SELECT 1 FROM syncstore_storeentry AS entry
            WHERE entry.store_id = line.store_id AND entry.key = line.key
                AND entry.last_id = line.rpc_id AND line.outcome = 'applied'
        )
    )
    RETURNING id
)
SELECT max(id), count(*) FILTER (WHERE at < %(before)s),
    (SELECT count(*) FROM pruned)
FROM oldest
"""


def prune_updates() -> int:
    """Delete old lines and used links in batches; returns how many."""
    links = retention.prune_tables("syncstore.prune_updates")
    return links + retention.in_turns([_batches()])


def _batches() -> Iterator[int]:
    before = retention.cutoff("keep_sync_updates_days")
    if before is None:
        return
    after = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                _PRUNE, {"after": after, "limit": PRUNE_BATCH_SIZE, "before": before}
            )
            after, old, pruned = cursor.fetchone()
        if not old:
            return
        yield int(pruned)
