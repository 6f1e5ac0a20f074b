"""Whole columns as PostgreSQL's binary arrays.

psycopg adapts a list element by element, which costs more than everything else that
happens to a published message. The binary form of an array is a header and the elements,
each with its length in front, so that joining bytes makes it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from psycopg.adapt import Dumper
from psycopg.pq import Format

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg.abc import AdaptContext

TEXT_OID = 25
BIGINT_OID = 20

# Dimensions, whether there are nulls, element type; length and lower bound if any.
_header = struct.Struct(">iiIii").pack
_empty = struct.Struct(">iiI").pack
_length = struct.Struct(">i").pack
_NULL = _length(-1)


class PackedArray(bytes):
    """A parameter that is an array already; the statement casts it to its type."""

    __slots__ = ()


class PackedArrayDumper(Dumper):
    format = Format.BINARY
    oid = 0

    def dump(self, obj: PackedArray) -> PackedArray:
        return obj


def register(context: AdaptContext) -> None:
    context.adapters.register_dumper(PackedArray, PackedArrayDumper)


def bigint(value: int) -> bytes:
    """Not an array: one number in the same form."""
    return value.to_bytes(8, "big", signed=True)


def bigints(values: Sequence[int]) -> PackedArray:
    count = len(values)
    if not count:
        return PackedArray(_empty(0, 0, BIGINT_OID))
    members = [8] * (2 * count)
    members[1::2] = values
    return PackedArray(
        _header(1, 0, BIGINT_OID, count, 1) + struct.pack(f">{'iq' * count}", *members)
    )


def texts(values: Iterable[str]) -> PackedArray:
    encoded = list(map(str.encode, values))
    count = len(encoded)
    if not count:
        return PackedArray(_empty(0, 0, TEXT_OID))
    lengths = set(map(len, encoded))
    if len(lengths) == 1:
        # Topics, digests, client ids: one separator does for all.
        separator = _length(lengths.pop())
        members = separator + separator.join(encoded)
    else:
        members = b"".join([_length(len(each)) + each for each in encoded])
    return PackedArray(_header(1, 0, TEXT_OID, count, 1) + members)


def optional_texts(values: Sequence[str | None]) -> PackedArray:
    if not values:
        return PackedArray(_empty(0, 0, TEXT_OID))
    parts = []
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            encoded = value.encode()
            parts.append(_length(len(encoded)) + encoded)
    return PackedArray(_header(1, 1, TEXT_OID, len(values), 1) + b"".join(parts))
