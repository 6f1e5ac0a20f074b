"""Rows of a table: name, value, ratio to the bare loopback."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    value: str
    ratio: str = ""
    cpu: str = ""


@dataclass
class Report:
    name: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

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
