"""Text as people paste it: with line breaks, quotes and invisible characters around it.

Terminals wrap long lines, editors end a file with a line break, chat programs put in
typographic quotes and zero-width spaces. None of that is part of an address or of a
signature, so forms take it off before they judge what is left.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_QUOTES: Final = "\"'`\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}" + (
    "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
    "\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}"
    "\N{RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK}"
)
# Separators, control characters (line breaks, tabs) and format characters (zero width).
_INVISIBLE: Final = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})


def bare_text(text: str) -> str:
    """``text`` without white space, invisible characters, and quotes around it.

    For values that hold none of these themselves: addresses, signatures, hexadecimal.
    """
    visible = "".join(
        mark for mark in text if unicodedata.category(mark) not in _INVISIBLE
    )
    return visible.strip(_QUOTES)
