"""docs/security.md lists existing tests, and every test of this folder."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "security.md").read_text()
ENDPOINTS = PAGE.partition("## Endpoints and what they refuse")[2].partition("\n## ")[0]


def test_every_test_named_on_the_page_exists():
    for row in ENDPOINTS.splitlines():
        if not row.startswith("|"):
            continue
        # A bare name is in the folder of the previous name, otherwise in this one.
        folder = "hostile"
        for place, name in re.findall(r"`(?:(\w+)/)?(test_\w+\.py)`", row):
            folder = place or folder
            found = [TESTS / folder / name, TESTS / "hostile" / name]
            assert any(each.exists() for each in found), f"{name} in: {row}"


def test_the_page_lists_every_test_of_this_folder():
    for path in Path(__file__).parent.glob("test_*.py"):
        assert path.name in ENDPOINTS or path == Path(__file__), path.name
