"""The test vectors. `source` in each file names the released code that made it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "vectors"


@cache
def load(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


def cases(vectors: dict, list_name: str = "cases", *, label: str = "name") -> list:
    """The elements of one list, as parameters with readable ids."""
    return [
        pytest.param(case, id=f"{number}: {case.get(label, '')}"[:60])
        for number, case in enumerate(vectors[list_name])
    ]
