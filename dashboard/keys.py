"""Parses primary keys from URLs and forms."""

from __future__ import annotations

from typing import Final
from uuid import UUID

# A bigint has up to 19 digits; 18 always fit, so PostgreSQL cannot reject the query.
MAX_DIGITS: Final = 18


def parse_pk(text: str) -> int | None:
    """The primary key in ``text``, or None if it cannot be one."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    return int(text) if is_number else None


def is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
