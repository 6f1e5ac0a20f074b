"""JSON-RPC ids and delivery ids.

Wallets key received notifications by the JSON-RPC id alone, across dapps. So ids are unique
over all processes, ascending in time, and below 2**53, the largest integer that
JavaScript represents exactly. The current second is the upper part, a database sequence of
six digits that wraps around the lower one: unique below a million ids per second, also after
a backup was restored with an older sequence value.
"""

from __future__ import annotations

import uuid
from typing import Final

from django.db import connection

from common import clock, entropy

SEQUENCE: Final = "castserver_rpc_id"
IDS_PER_SECOND: Final = 1_000_000
_RANDOM_BYTES: Final = 10


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
    random = entropy.random_bytes(_RANDOM_BYTES * count)
    found = []
    for start in range(0, len(random), _RANDOM_BYTES):
        bits = int.from_bytes(random[start : start + _RANDOM_BYTES])
        # Twelve random bits follow the version, 62 the variant.
        tail = (bits >> 62 & 0xFFF) << 64 | bits & (1 << 62) - 1
        found.append(uuid.UUID(int=head | tail))
    return found
