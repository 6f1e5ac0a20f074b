"""System checks of the messaging package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage, Error, Tags, register

from messaging.inbox import LEASE
from messaging.tasks import BUDGET_S, TIME_LIMIT_S

if TYPE_CHECKING:
    from collections.abc import Sequence


@register(Tags.compatibility)
def check_lease(**_: Any) -> Sequence[CheckMessage]:
    """A worker must be gone before its lease ends, or two workers handle one row."""
    if BUDGET_S < TIME_LIMIT_S < LEASE.total_seconds():
        return []
    return [
        Error("An inbox task may outlive the lease of its rows.", id="relay.E001"),
    ]
