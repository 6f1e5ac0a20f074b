"""Bidirectional control characters in texts of others.

Spec: UAX #9, explicit embeddings, overrides and isolates. They reorder what follows, so that a
name can look like another one ("exe.gnp" as "png.exe"). The marks for single characters (LRM,
RLM, ALM), which right-to-left scripts need, stay.
"""

from __future__ import annotations

import re

_CHARACTERS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_CONTROLS = re.compile(f"[{_CHARACTERS}]")
_ENCODED = re.compile(rb"\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def neutralize(text: str) -> str:
    # Hardly any text has one, and to look for each takes a tenth of a scan for all.
    if any(each in text for each in _CHARACTERS):
        return _CONTROLS.sub(_REPLACEMENT, text)
    return text


def neutralize_utf8(text: bytes) -> bytes:
    return _ENCODED.sub(_REPLACEMENT.encode(), text)
