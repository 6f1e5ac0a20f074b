"""Names cannot reorder the text around them, or themselves."""

from __future__ import annotations

import pytest

from common import bidi

FORGED = "exe\u202egnp"
HEBREW = "\u200f\u05e9\u05dc\u05d5\u05dd\u200f abc"


@pytest.mark.parametrize("mark", [*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
def test_embeddings_overrides_and_isolates_are_replaced(mark):
    text = f"a{chr(mark)}b"
    assert bidi.neutralize(text) == "a\ufffdb"
    assert bidi.neutralize_utf8(text.encode()) == "a\ufffdb".encode()


@pytest.mark.parametrize("text", [HEBREW, "\u2029\u202f\u2065\u206a", "😀"])
def test_other_characters_stay(text):
    assert bidi.neutralize(text) == text
    assert bidi.neutralize_utf8(text.encode()) == text.encode()
