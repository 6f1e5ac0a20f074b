"""The SQL of the sync stores: one statement per batch, whatever its size.

Django's ``bulk_create`` knows no condition on its upsert, and the rule of the Sync API is
one: ``WHERE excluded.last_id > kept.last_id``. It holds here as the last line, behind the
row lock on the store, so that no order of writers can bring an older value back.
"""

from __future__ import annotations

from binascii import b2a_base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson
from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

_LAST_IDS: Final = """
SELECT entry.store_id, entry.key, entry.last_id
FROM json_to_recordset(%s) AS wanted (store_id bigint, key text)
JOIN syncstore_storeentry AS entry
  ON entry.store_id = wanted.store_id AND entry.key = wanted.key
"""

_UPSERT: Final = """
INSERT INTO syncstore_storeentry AS kept
    (store_id, key, last_id, is_deleted, sealed_value, updated_at)
SELECT store_id, key, last_id, is_deleted, decode(sealed_value, 'base64'), %s
FROM json_to_recordset(%s) AS new (store_id bigint, key text, last_id bigint,
                                   is_deleted boolean, sealed_value text)
ORDER BY store_id, key
ON CONFLICT (store_id, key) DO UPDATE SET
    last_id = excluded.last_id,
    is_deleted = excluded.is_deleted,
    sealed_value = excluded.sealed_value,
    updated_at = excluded.updated_at
WHERE excluded.last_id > kept.last_id
"""

_LOG: Final = """
WITH new AS (
    SELECT * FROM ROWS FROM (json_to_recordset(%s) AS (
        store_id bigint, key text, action text, rpc_id bigint, previous_id bigint,
        outcome text, reason text, note text, size int, published_at bigint
    )) WITH ORDINALITY AS line (
        store_id, key, action, rpc_id, previous_id,
        outcome, reason, note, size, published_at, place
    )
), written AS (
    INSERT INTO syncstore_storeupdate
        (store_id, key, action, rpc_id, previous_id, outcome, reason, note, size,
         published_at, source, device_id, at)
    SELECT store_id, key, action, rpc_id, previous_id, outcome, reason, note, size,
           published_at, %s, %s, %s
    FROM new ORDER BY place
    RETURNING id, store_id
)
SELECT store_id, max(id) FROM written GROUP BY store_id
"""

_HEADS: Final = """
UPDATE syncstore_store AS store SET last_id = GREATEST(store.last_id, new.last_id)
FROM unnest(%s::bigint[], %s::bigint[]) AS new (store_id, last_id)
WHERE store.id = new.store_id
"""

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
    """What a key becomes: a sealed value, or the tombstone that keeps its last id."""

    store_id: int
    key: str
    last_id: int
    is_deleted: bool
    sealed_value: str = field(repr=False, default="")

    @staticmethod
    def encoded(sealed: bytes) -> str:
        return b2a_base64(sealed, newline=False).decode()


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
    size: int = 0
    published_at: int | None = None


def last_ids(keys: Collection[tuple[int, str]]) -> dict[tuple[int, str], int]:
    """The id of the last update of each (store, key), tombstones included."""
    if not keys:
        return {}
    wanted = [{"store_id": store_id, "key": key} for store_id, key in keys]
    with connection.cursor() as cursor:
        cursor.execute(_LAST_IDS, [_json(wanted)])
        return {(store_id, key): last_id for store_id, key, last_id in cursor}


def upsert_entries(rows: Sequence[EntryRow], *, now: datetime) -> None:
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(_UPSERT, [now, _json(rows)])


def write_log(
    rows: Sequence[LogRow], *, source: str, device_id: UUID | None, now: datetime
) -> dict[int, int]:
    """Append to the log, in this order; the answer is the newest line of each store."""
    if not rows:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_LOG, [_json(rows), source, device_id, now])
        return dict(cursor.fetchall())


def _json(rows: Sequence[object]) -> str:
    """All rows as one parameter: far cheaper to quote than an array for each column."""
    return orjson.dumps(rows).decode()


def raise_heads(heads: dict[int, int]) -> None:
    """Note the highest id seen per store: our own writes pick a higher one."""
    if heads:
        with connection.cursor() as cursor:
            cursor.execute(_HEADS, [list(heads), list(heads.values())])


def move_cursors(heads: dict[int, int], *, now: datetime) -> None:
    """Every active device of the stores' accounts now has the log up to these lines."""
    if heads:
        with connection.cursor() as cursor:
            cursor.execute(_MOVE_CURSORS, [now, list(heads), list(heads.values())])
