"""Rates of REST calls: refused with ``Retry-After``."""

from __future__ import annotations

from common import limits
from common.problems import Problem, ProblemError


def throttled(name: str, key: str) -> limits.Verdict:
    """Take one token of the limit ``name``, or end the request with 429."""
    verdict = limits.consume(name, key)
    if not verdict.allowed:
        problem = Problem(
            "too-many-requests",
            "Too many requests",
            429,
            f"try again in {verdict.retry_after} s",
        )
        raise ProblemError(problem, headers=verdict.headers())
    return verdict
