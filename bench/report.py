"""Rows of a table: name, value, ratio to the bare loopback; and what is compared to a goal."""

from __future__ import annotations

import json
import operator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    value: str
    ratio: str = ""
    cpu: str = ""


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure as a multiple of ``limit``, which was measured in the same run."""

    what: str
    measured: float
    limit: str
    # ``<=`` or ``>=``, and the number.
    goal: str

    @property
    def is_met(self) -> bool:
        sign, number = self.goal.split()
        compare = operator.le if sign == "<=" else operator.ge
        return bool(compare(self.measured, float(number)))


@dataclass
class Report:
    name: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)

    def compare(self, what: str, measured: float, limit: str, *, goal: str) -> None:
        self.goals.append(Goal(what, measured, limit, goal))

    def append_goals(self, path: Path) -> None:
        with path.open("a") as file:
            for each in self.goals:
                file.write(json.dumps(asdict(each)) + "\n")

    def add(self, what: str, value: str, *, ratio: str = "", cpu: str = "") -> None:
        self.rows.append(Row(what, value, ratio, cpu))

    def note(self, text: str) -> None:
        self.notes.append(text)

    def print(self) -> None:
        print(f"\n{self.name}")
        widths = [
            max(len(getattr(row, name)) for row in self.rows)
            for name in ("what", "value", "ratio")
        ]
        for row in self.rows:
            cells = (row.what, row.value, row.ratio)
            line = "  ".join(
                f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)
            )
            print(f"  {line}  {row.cpu}".rstrip())
        for text in self.notes:
            print(f"  {text}")


def print_goals(goals: list[Goal]) -> None:
    heads = ("what", "measured", "limit", "goal", "met")
    table = [
        (
            each.what,
            f"{each.measured:.2f}",
            each.limit,
            each.goal,
            "yes" if each.is_met else "no",
        )
        for each in goals
    ]
    widths = [max(map(len, column)) for column in zip(heads, *table, strict=True)]
    print("\ngoals: measured is a multiple of the limit, both of this run")
    for cells in (heads, *table):
        line = "  ".join(
            f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)
        )
        print(f"  {line}".rstrip())


def per_second(count: float) -> str:
    return f"{count:,.0f}/s"


def micro(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us"


def milli(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]
