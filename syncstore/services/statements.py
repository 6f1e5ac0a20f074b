"""The SQL of the sync stores: one statement per batch, whatever its size.

Django's ``bulk_create`` takes no condition for its upsert, and the rule of the Sync API is
one: ``WHERE excluded.last_id > kept.last_id``. With the row lock on the store, and this
condition behind it, no order of writers can restore an older value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from django.db import connection

from common.cursors import column_cursor

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

_CURRENT: Final = """
SELECT entry.store_id, entry.key, entry.last_id, entry.is_deleted, entry.sealed_value
FROM unnest(%b::bigint[], %b::text[]) AS wanted (store_id, key)
JOIN syncstore_storeentry AS entry
  ON entry.store_id = wanted.store_id AND entry.key = wanted.key
"""

# Sorted, so that all writers lock entries in one order.
_UPSERT: Final = """
INSERT INTO syncstore_storeentry AS kept
    (store_id, key, last_id, is_deleted, sealed_value, updated_at)
SELECT store_id, key, last_id, is_deleted, sealed_value, %b
FROM unnest(%b::bigint[], %b::text[], %b::bigint[], %b::boolean[], %b::bytea[])
  AS new (store_id, key, last_id, is_deleted, sealed_value)
ORDER BY store_id, key
ON CONFLICT (store_id, key) DO UPDATE SET
    last_id = excluded.last_id,
    is_deleted = excluded.is_deleted,
    sealed_value = excluded.sealed_value,
    updated_at = excluded.updated_at
WHERE excluded.last_id > kept.last_id
"""

# ORDINALITY keeps the order of arrival, which the ids of the log then show.
_LOG: Final = """
WITH written AS (
    INSERT INTO syncstore_storeupdate
        (store_id, key, action, rpc_id, previous_id, outcome, reason, note, author,
         changes, size, published_at, outbox_id, source, device_id, at)
    SELECT store_id, key, action, rpc_id, previous_id, outcome, reason, note, author,
           changes::jsonb, size, published_at, outbox_id,
           %b::text, %b::uuid, %b::timestamptz
    FROM unnest(%b::bigint[], %b::text[], %b::text[], %b::bigint[], %b::bigint[],
                %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::int[],
                %b::bigint[], %b::bigint[])
      WITH ORDINALITY AS new (store_id, key, action, rpc_id, previous_id, outcome,
                              reason, note, author, changes, size, published_at,
                              outbox_id, place)
    ORDER BY place
    RETURNING id, store_id
)
SELECT store_id, max(id) FROM written GROUP BY store_id
"""

_HEADS: Final = """
UPDATE syncstore_store AS store SET last_id = GREATEST(store.last_id, new.last_id)
FROM unnest(%s::bigint[], %s::bigint[]) AS new (store_id, last_id)
WHERE store.id = new.store_id
"""

# One row per active device, in one statement: pages show how far each device is.
_MOVE_CURSORS: Final = """
INSERT INTO syncstore_devicecursor AS kept (store_id, device_id, update_pk, moved_at)
SELECT store.id, device.id, head.update_pk, %s
FROM unnest(%s::bigint[], %s::bigint[]) AS head (store_id, update_pk)
JOIN syncstore_store AS store ON store.id = head.store_id
JOIN accounts_account AS account ON account.id = store.account_id
JOIN accounts_device AS device
  ON device.user_id = account.user_id AND device.revoked_at IS NULL
ORDER BY store.id, device.id
ON CONFLICT (store_id, device_id) DO UPDATE SET
    update_pk = excluded.update_pk, moved_at = excluded.moved_at
WHERE excluded.update_pk > kept.update_pk
"""


@dataclass(frozen=True, slots=True)
class EntryRow:
    """The new state of a key: a sealed value, or a tombstone with its last id."""

    store_id: int
    key: str
    last_id: int
    is_deleted: bool
    sealed_value: bytes = field(repr=False, default=b"")


@dataclass(frozen=True, slots=True)
class LogRow:
    """One line of the log."""

    store_id: int
    key: str
    action: str
    rpc_id: int
    previous_id: int | None
    outcome: str
    reason: str = ""
    note: str = ""
    author: str = ""
    # JSON text.
    changes: str = "[]"
    size: int = 0
    published_at: int | None = None
    outbox_id: int | None = None


@dataclass(frozen=True, slots=True)
class CurrentEntry:
    """The last update of a key; a tombstone has no value."""

    last_id: int
    sealed_value: bytes | None = field(repr=False)


def current_entries(
    keys: Collection[tuple[int, str]],
) -> dict[tuple[int, str], CurrentEntry]:
    """The entry of each (store, key), tombstones included."""
    if not keys:
        return {}
    stores, names = zip(*keys, strict=True)
    with column_cursor() as cursor:
        cursor.execute(_CURRENT, [list(stores), list(names)])
        return {
            (store_id, key): CurrentEntry(last_id, None if is_deleted else sealed)
            for store_id, key, last_id, is_deleted, sealed in cursor
        }


def upsert_entries(rows: Sequence[EntryRow], *, now: datetime) -> None:
    if not rows:
        return
    with column_cursor() as cursor:
        cursor.execute(
            _UPSERT,
            [
                now,
                [row.store_id for row in rows],
                [row.key for row in rows],
                [row.last_id for row in rows],
                [row.is_deleted for row in rows],
                [row.sealed_value for row in rows],
            ],
        )


def write_log(
    rows: Sequence[LogRow], *, source: str, device_id: UUID | None, now: datetime
) -> dict[int, int]:
    """Append to the log, in this order; returns the newest line of each store."""
    if not rows:
        return {}
    with column_cursor() as cursor:
        cursor.execute(
            _LOG,
            [
                str(source),
                device_id,
                now,
                [row.store_id for row in rows],
                [row.key for row in rows],
                [str(row.action) for row in rows],
                [row.rpc_id for row in rows],
                [row.previous_id for row in rows],
                [str(row.outcome) for row in rows],
                [row.reason for row in rows],
                [row.note for row in rows],
                [row.author for row in rows],
                [row.changes for row in rows],
                [row.size for row in rows],
                [row.published_at for row in rows],
                [row.outbox_id for row in rows],
            ],
        )
        return dict(cursor.fetchall())


def raise_heads(heads: dict[int, int]) -> None:
    """Store the highest id per store; local writes take a higher one."""
    if heads:
        with connection.cursor() as cursor:
            cursor.execute(_HEADS, [list(heads), list(heads.values())])


def move_cursors(heads: dict[int, int], *, now: datetime) -> None:
    """Move every active device of the stores' accounts to these lines of the log."""
    if heads:
        with connection.cursor() as cursor:
            cursor.execute(_MOVE_CURSORS, [now, list(heads), list(heads.values())])
