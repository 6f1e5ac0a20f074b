"""Ids of what the Cast Server sends.

protocol.md, section 5.7: clients keep what they receive by its JSON-RPC id alone, so ids
are unique over all processes, ordered by time, and below 2**53. The second gives the
upper digits and a database sequence of six digits that starts over the lower ones: unique
while fewer than a million ids are taken in a second, also after a backup was restored.
"""

from __future__ import annotations

import uuid
from typing import Final

from django.db import connection

from common import clock, entropy

SEQUENCE: Final = "castserver_rpc_id"
IDS_PER_SECOND: Final = 1_000_000


def rpc_ids(count: int) -> list[int]:
    """``count`` new JSON-RPC ids in ascending order, in one query."""
    if count == 0:
        return []
    base = clock.now_s() * IDS_PER_SECOND
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(%s) FROM generate_series(1, %s)", [SEQUENCE, count]
        )
        return sorted(base + row[0] for row in cursor.fetchall())


def time_ordered_ids(count: int) -> list[uuid.UUID]:
    """``count`` UUIDs of version 7 (RFC 9562): the millisecond, then random bits."""
    head = clock.now_ms() << 80 | 0x7 << 76 | 0x2 << 62
    return [uuid.UUID(int=head | _random_bits()) for _ in range(count)]


def _random_bits() -> int:
    # Twelve bits beside the version, 62 beside the variant.
    random = int.from_bytes(entropy.key_bytes()[:10])
    return (random >> 62 & 0xFFF) << 64 | random & (1 << 62) - 1
