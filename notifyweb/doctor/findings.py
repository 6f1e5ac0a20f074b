"""What a check found, and the report of ``manage.py doctor``."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from notifyweb.logs import redact

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME_WIDTH = 22


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """``state`` is what was found, ``advice`` what to do about it; empty if all is well."""

    name: str
    level: Level
    state: str
    advice: str = ""


def ok(name: str, state: str) -> Finding:
    return Finding(name, Level.OK, state)


def warning(name: str, state: str, advice: str) -> Finding:
    return Finding(name, Level.WARNING, state, advice)


def fault(name: str, state: str, advice: str) -> Finding:
    return Finding(name, Level.FAULT, state, advice)


def worst(findings: Sequence[Finding]) -> Level:
    levels = {finding.level for finding in findings}
    for level in (Level.FAULT, Level.WARNING):
        if level in levels:
            return level
    return Level.OK


def summary(findings: Sequence[Finding]) -> str:
    """``1 fault, 2 warnings: disk space, clock, mail``"""
    counts = Counter(finding.level for finding in findings)
    parts = [
        f"{counts[level]} {level}{'s' if counts[level] > 1 else ''}"
        for level in (Level.FAULT, Level.WARNING)
        if counts[level]
    ]
    if not parts:
        return f"All {len(findings)} checks passed."
    wrong = [finding for finding in findings if finding.level != Level.OK]
    wrong.sort(key=lambda finding: finding.level != Level.FAULT)
    names = dict.fromkeys(finding.name for finding in wrong)
    return f"{', '.join(parts)}: {', '.join(names)}"


def as_text(findings: Sequence[Finding]) -> str:
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:<8} {finding.name:<{NAME_WIDTH}} {finding.state}")
        if finding.advice:
            lines.append(f"{'':<8} {'':<{NAME_WIDTH}} -> {finding.advice}")
    return redact("\n".join([*lines, "", summary(findings)]))


def as_json(findings: Sequence[Finding]) -> str:
    value = {
        "result": str(worst(findings)),
        "summary": summary(findings),
        "findings": [
            {
                "name": finding.name,
                "level": str(finding.level),
                "state": finding.state,
                "advice": finding.advice,
            }
            for finding in findings
        ],
    }
    return redact(json.dumps(value, indent=2, ensure_ascii=False))


def exit_code(findings: Sequence[Finding]) -> int:
    return 0 if worst(findings) is Level.OK else 1
