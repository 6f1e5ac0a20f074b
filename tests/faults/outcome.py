"""The result of a fault, and the table of all."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass
class Outcome:
    fault: str
    process: str
    recovered_s: float | None = None
    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)
    # Figures worth printing.
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not (self.lost or self.doubled or self.problems)


def table(outcomes: Sequence[Outcome]) -> str:
    heads = ("fault", "process", "recovered in", "lost", "doubled")
    rows = [
        (
            each.fault,
            each.process,
            "-" if each.recovered_s is None else f"{each.recovered_s:.1f} s",
            str(each.lost),
            str(each.doubled),
        )
        for each in outcomes
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = []
    for row in (heads, tuple("-" * width for width in widths), *rows):
        cells = zip(row, widths, strict=True)
        lines.append("  ".join(cell.ljust(width) for cell, width in cells).rstrip())
    for each in outcomes:
        lines += [f"{each.fault}: {note}" for note in each.notes]
    for each in outcomes:
        lines += [f"FAILED {each.fault}: {problem}" for problem in each.problems]
    failed = sum(not each.passed for each in outcomes)
    lines.append(f"{len(outcomes)} faults, {failed} failed")
    return "\n".join(lines)


def write_json(path: Path, seed: int, outcomes: Sequence[Outcome]) -> None:
    value = {
        "seed": seed,
        "faults": [{**asdict(each), "passed": each.passed} for each in outcomes],
    }
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
