"""Primary keys as people's addresses and forms write them."""

from __future__ import annotations

from typing import Final

# Fewer than a bigint has: whatever passes, the database can be asked for.
MAX_DIGITS: Final = 18


def key_of(text: str) -> int | None:
    """The number that ``text`` writes, or None if it is none that a row could have."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    return int(text) if is_number else None
